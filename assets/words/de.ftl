# Alles, was das Fenster sagt, auf Deutsch.

-name = PocketVM

# --- general --------------------------------------------------------------------------------------------------
window-title = { $machine } – { -name }
window-title-plain = { -name }
back = Zurück
details = Einzelheiten
details-hide = Einzelheiten verbergen
close-window = Schließen
look-again = Erneut nachsehen
keep-as-files = Als Dateien behalten…
not-now = Nicht jetzt
page-history = Verlauf
page-log = Protokoll
page-settings = Einstellungen
page-about = Über

day-today = heute, { $time }
day-yesterday = gestern, { $time }
day-week = { $day }, { $time }
day-date = { $date }, { $time }
weekday-1 = Montag
weekday-2 = Dienstag
weekday-3 = Mittwoch
weekday-4 = Donnerstag
weekday-5 = Freitag
weekday-6 = Samstag
weekday-7 = Sonntag
duration-seconds = { $seconds ->
    [one] { $seconds } Sekunde
   *[other] { $seconds } Sekunden
}
duration-minutes = { $minutes ->
    [one] { $minutes } Minute
   *[other] { $minutes } Minuten
}
duration-hours = { $hours } h { $minutes } min

# --- looking --------------------------------------------------------------------------------------------------
looking-title = Einen Moment
looking-text = Der Stick und dieser PC werden geprüft. Dabei ändert sich nichts.

# --- no drive -------------------------------------------------------------------------------------------------
drives-title = Welcher Rechner?
drives-text = Es sind mehrere Sticks mit einem Rechner eingesteckt. Wählen Sie den, den Sie benutzen möchten.
drives-one = { $drive } benutzen

# --- ready ----------------------------------------------------------------------------------------------------
ready-start = Starten
ready-start-hint = Startet { $machine } in einem eigenen Fenster.
ready-checking = Es wird geprüft, was dieser PC bietet…
ready-clean = Auf dem Stick ist alles gespeichert.
ready-fresh = Dieser Stick wurde noch nicht benutzt.
ready-last = Letzte Sitzung: { $when }, auf { $host }, { $size } gespeichert.
ready-runs-on = Läuft mit
ready-with = { $hypervisor } { $version } ({ $accelerator })
ready-why = Warum?
ready-why-hide = Begründung verbergen
ready-why-title = Was dieser PC hat
ready-chosen = wird benutzt
ready-usable = benutzbar
ready-use = Stattdessen { $hypervisor } ({ $accelerator }) benutzen
ready-not-usable = nicht benutzt: { $reason }
ready-fix = Was helfen würde: { $fix }
ready-rate = { $rate } Millionen Durchläufe je Sekunde im Test
accelerator-hardware = Virtualisierung des Prozessors
accelerator-interpreter = eigener Interpreter
ready-copied = Dieser Hypervisor kann die Platten auf dem Stick nicht lesen. Solange der Rechner läuft, liegt deshalb eine Kopie ({ $size }) auf diesem PC; danach wird sie entfernt. Der Start dauert dadurch länger.
ready-lacks = Das bietet dieser Hypervisor nicht: { $devices }.
device-network = Netzwerk
device-sound = Ton
device-clipboard = gemeinsame Zwischenablage
device-usb = USB-Geräte
device-display = gewählte Bildschirmgröße
device-share = gemeinsamer Ordner
device-variables = bleibende Einstellungen der Firmware
device-tpm = TPM
ready-nothing-found = Weder auf diesem PC noch auf dem Stick wurde ein Programm gefunden, das den Rechner ausführen kann (ein Hypervisor, etwa QEMU oder VirtualBox).
ready-resources = Von diesem PC, solange der Rechner läuft
ready-memory = Arbeitsspeicher
ready-cpus = Prozessoren
ready-proposed = Zurück zum Vorschlag
ready-disks = Am Ende der Sitzung
ready-disk-keep = Änderungen an { $disk } behalten
ready-disk-kept = Änderungen werden auf dem Stick gespeichert
ready-disk-discarded = Änderungen werden verworfen
ready-paging = Auslagerungsspeicher, bis zu { $size }, liegt auf diesem PC, solange der Rechner läuft, und wird dann entfernt.
ready-room = Platz
ready-room-here = Auf diesem PC: { $free } frei, { $needed } nötig
ready-room-drive = Auf dem Stick: { $free } frei, { $needed } nötig
ready-consent-title = Ihre Änderungen auf diesem PC
ready-consent-text = Solange der Rechner läuft, liegen seine Änderungen unverschlüsselt auf der Platte dieses PCs. Sie selbst und die Administratoren dieses PCs könnten sie lesen. Nach einem Absturz bleiben sie hier, bis Sie sie speichern oder verwerfen, und gelöschte Dateien können Spuren hinterlassen.
ready-consent-copied = Auch eine Kopie der Platten ({ $size }) liegt hier unverschlüsselt.
ready-consent = Für diese Sitzung bin ich damit einverstanden
ready-plain = Solange der Rechner läuft, liegen seine Änderungen unverschlüsselt auf diesem PC. Der Besitzer des Sticks ist damit einverstanden.
ready-refused = { $count ->
    [one] Eines muss erst in Ordnung gebracht werden
   *[other] { $count } Dinge müssen erst in Ordnung gebracht werden
}
ready-scratch-elsewhere = Anderen Ordner auf diesem PC benutzen…

refusal-memory = { $machine } braucht { $needed } Arbeitsspeicher. Dieser PC kann { $spare } entbehren.
refusal-memory-fix = Schließen Sie Programme auf diesem PC und sehen Sie erneut nach, oder benutzen Sie einen PC mit mehr Arbeitsspeicher.
refusal-cpus = { $machine } braucht { $needed } Prozessoren. Dieser PC hat { $available }.
refusal-cpus-fix = Benutzen Sie einen PC mit mehr Prozessoren.
refusal-asked = Der gewählte Arbeitsspeicher oder die gewählte Zahl von Prozessoren ist nicht mehr zu haben.
refusal-asked-fix = Kehren Sie zum Vorschlag zurück.
refusal-scratch-room = Auf diesem PC ist zu wenig Platz für eine Sitzung: { $missing } fehlen.
refusal-scratch-room-fix = Schaffen Sie Platz auf diesem PC und sehen Sie erneut nach, oder benutzen Sie einen anderen Ordner.
refusal-drive-room = Auf dem Stick ist zu wenig Platz für die Änderungen einer Sitzung: { $missing } fehlen.
refusal-drive-room-fix = Schaffen Sie Platz auf dem Stick und sehen Sie erneut nach.
refusal-no-window = Der Hypervisor dieses PCs kann kein Fenster zeigen.
refusal-no-window-fix = Installieren Sie seine Fenster-Unterstützung (unter Debian und Ubuntu: apt install qemu-system-gui oder virtualbox-qt) und sehen Sie erneut nach.
refusal-no-hypervisor = Dieser PC hat nichts, womit der Rechner laufen könnte.
refusal-no-hypervisor-fix = Installieren Sie QEMU (unter Debian und Ubuntu: apt install qemu-system-x86) oder VirtualBox, oder führen Sie QEMU auf dem Stick mit; sehen Sie dann erneut nach.
refusal-unsettled = Eine frühere Sitzung ist im Weg.
refusal-unsettled-fix = Sehen Sie erneut nach; dann wird sie erklärt.

# --- a session that was left behind ---------------------------------------------------------------------------
leftover-title = Änderungen warten
leftover-text = Eine Sitzung auf diesem PC ({ $when }) hat { $size } an Änderungen hinterlassen, die noch nicht auf dem Stick sind.
leftover-clean = Der Rechner war ordentlich heruntergefahren.
leftover-unclean = Der Rechner war nicht ordentlich heruntergefahren. Seine Platten sind wie nach einem Stromausfall.
leftover-running-title = Der Rechner läuft noch
leftover-running = Der Rechner einer Sitzung auf diesem PC ({ $when }) läuft noch, obwohl PocketVM ihn nicht mehr überwacht. { $size } an Änderungen sind noch nicht auf dem Stick.
leftover-moved = Eine Sitzung auf diesem PC ({ $when }) hat { $size } an Änderungen hinterlassen. Sie können nicht mehr auf dem Stick gespeichert werden, weil { $disk } darauf sich seither geändert hat.
leftover-unreadable = Eine Sitzung auf diesem PC ({ $when }) hat { $size } an Änderungen hinterlassen. Sie können jetzt nicht gespeichert werden, weil eine Platte auf dem Stick nicht lesbar ist.
leftover-safe = Der Stick ist unversehrt, und diese Änderungen bleiben erhalten.
leftover-tidy = Aufräumen
leftover-settled = Von einer früheren Sitzung liegen nur noch temporäre Dateien auf diesem PC. Darin ist nichts mehr zu speichern.
leftover-settled-title = Nur noch aufzuräumen
leftover-safe-changes = Diese Änderungen bleiben erhalten.
leftover-save = Auf dem Stick speichern
leftover-save-running = Herunterfahren und speichern
leftover-save-hint = Die Änderungen kommen auf den Stick. Sie können das danach rückgängig machen.
leftover-discard = Verwerfen…
leftover-later-hint = Alles bleibt, wie es ist.
leftover-per-disk = { $disk }: { $size }
interrupted-title = Ein Speichervorgang wurde unterbrochen
interrupted-text = Der letzte Speichervorgang auf diesem Stick wurde unterbrochen. Der Stick ist auf dem Stand davor oder danach, nie dazwischen.
interrupted-fix = Jetzt abschließen
elsewhere-title = Änderungen liegen auf einem anderen PC
elsewhere-lost-title = Änderungen sind nicht zu finden
elsewhere-original-title = Dieser Stick ist eine Kopie
elsewhere-other = Auf dem PC { $host } liegen Änderungen (seit { $when }), die nicht auf diesem Stick sind.
elsewhere-other-fix = Stecken Sie den Stick an { $host } ein und speichern Sie sie dort.
elsewhere-lost = Eine Sitzung auf diesem PC ({ $when }) wurde nicht gespeichert, und ihr Ordner ist nicht da, wo er sein sollte.
elsewhere-lost-fix = Zeigen Sie den Ordner, der ihn enthält (siehe Einzelheiten), falls er auf einer anderen Platte dieses PCs liegt.
elsewhere-lost-find = Ordner zeigen…
elsewhere-original = Dieser Stick ist die Kopie eines anderen, dessen Sitzung ({ $when }) auf { $host } nicht gespeichert wurde.
elsewhere-original-fix = Speichern Sie jene Sitzung mit dem ursprünglichen Stick.
elsewhere-size = Etwa { $size } wurden nicht gespeichert.
elsewhere-safe = Der Stick ist unversehrt, auf dem Stand der Sitzung davor.
elsewhere-give-up = Ohne jene Änderungen weitermachen…
elsewhere-besides = Außerdem hat eine Sitzung auf diesem PC ({ $when }) { $size } an Änderungen hinterlassen. Behalten Sie diese zuerst als Dateien.
busy-title = Der Stick wird benutzt
busy-text = Eine andere Sitzung arbeitet gerade mit diesem Stick.
busy-fix = Beenden Sie jene Sitzung, oder warten Sie, bis sie zu Ende ist.

# --- starting -------------------------------------------------------------------------------------------------
step-detect = Es wird geprüft, was dieser PC bietet
step-plan = Planen
step-prepare = Die Sitzung wird vorbereitet
step-launch = Der Rechner wird gestartet
step-run = Der Rechner läuft
step-merge = Speichern auf dem Stick
step-wipe = Dieser PC wird aufgeräumt
step-compact = Die Platten werden verkleinert
starting-title = { $machine } wird gestartet
starting-stop = Abbrechen
working-text = Das dauert einen Moment. Ziehen Sie den Stick nicht ab.

# --- running --------------------------------------------------------------------------------------------------
running-title = { $machine } läuft
running-text = Arbeiten Sie in seinem Fenster. Fahren Sie ihn dort oder hier herunter; was behalten werden soll, wird dann auf dem Stick gespeichert.
running-time = Läuft seit { $time }
running-unsaved = Noch nicht auf dem Stick
running-unsaved-disk = { $disk }: { $size }
running-discarded-disk = { $disk }: { $size }, werden am Ende verworfen
running-plot = Änderungen auf diesem PC im Lauf der Zeit, zusammen { $size }
running-memory = Belegter Arbeitsspeicher auf diesem PC: { $size }
running-room = Freier Platz auf diesem PC: { $size }
running-changes = { $count ->
    [one] An einer Stelle wurde der Rechner an den Hypervisor dieses PCs angepasst; das gehört zu den Änderungen dieser Sitzung:
   *[other] An { $count } Stellen wurde der Rechner an den Hypervisor dieses PCs angepasst; das gehört zu den Änderungen dieser Sitzung:
}
running-keys = Die Maus ist im Fenster des Rechners gefangen? { $keys } gibt sie frei.
running-shut-down = Herunterfahren
running-shut-down-again = Noch einmal bitten
running-shutting-down = Fährt herunter…
running-shutting-down-text = Der Rechner wurde gebeten, herunterzufahren. Vielleicht fragt er in seinem eigenen Fenster nach.
running-force = Hart ausschalten…
running-paused = Angehalten

trouble-drive-gone = Der Stick ist nicht erreichbar
trouble-drive-gone-safe = Der Rechner ist angehalten, nichts ist verloren.
trouble-drive-gone-next = Stecken Sie denselben Stick wieder ein, gleich an welchem Anschluss. Der Rechner läuft dann von selbst weiter.
trouble-drive-changed = Das ist nicht der Stick, wie die Sitzung ihn verlassen hat
trouble-drive-changed-safe = Der Rechner ist angehalten, seine Änderungen sind auf diesem PC.
trouble-drive-changed-next = Stecken Sie den Stick ein, von dem die Sitzung gestartet wurde.
trouble-host-full = Die Platte dieses PCs ist voll
trouble-host-full-safe = Der Rechner ist angehalten, nichts ist verloren.
trouble-host-full-next = Schaffen Sie mindestens 32 MiB Platz auf diesem PC. Der Rechner läuft dann von selbst weiter.
trouble-disk-error = Eine Platte kann nicht gelesen oder beschrieben werden
trouble-disk-error-safe = Der Rechner ist angehalten, nichts ist verloren. Es wird noch einige Male versucht.
trouble-disk-error-next = Wenn es so bleibt, ziehen Sie den Stick ab und stecken Sie ihn wieder ein.
trouble-drive-room = Die Änderungen passen vielleicht nicht auf den Stick
trouble-drive-room-safe = Nichts ist verloren.
trouble-drive-room-next = Schaffen Sie Platz auf dem Stick, bevor Sie herunterfahren.
trouble-hypervisor = Das Programm, das den Rechner ausführt (der Hypervisor), hat nicht getan, was es sollte
trouble-hypervisor-safe = Die Änderungen des Rechners sind auf diesem PC.
trouble-hypervisor-next = Wenn sich nichts ändert, schalten Sie den Rechner hart aus.
trouble-guest-panicked = Das System des Rechners ist abgestürzt
trouble-guest-panicked-safe = Seine Änderungen bleiben auf diesem PC, bis Sie darüber entscheiden.
trouble-guest-panicked-next = Warten Sie, bis er neu startet, oder schalten Sie ihn hart aus.

# --- the machine did not end cleanly --------------------------------------------------------------------------
unclean-forced = Der Rechner wurde hart ausgeschaltet
unclean-panicked = Das System des Rechners ist abgestürzt
unclean-died = Das Programm, das den Rechner ausführt (der Hypervisor), hat unerwartet aufgehört
unclean-hibernated = Der Rechner wurde in den Ruhezustand versetzt, nicht heruntergefahren
unclean-safe = Der Stick ist wie vor der Sitzung. Die Änderungen sind auf diesem PC, können aber halb geschriebene Dateien enthalten, wie nach einem Stromausfall.
unclean-text = Speichern Sie sie, wenn etwas darin ist, das Sie brauchen. Sie können das danach rückgängig machen.
unclean-save = Auf dem Stick speichern
unclean-discard = Verwerfen…
unclean-later = Später entscheiden
question-title = Bitte entscheiden Sie
question-accept = Weiter

copying-text = Die Platten werden auf diesen PC kopiert, wo dieser Hypervisor sie lesen kann…

# --- saving ---------------------------------------------------------------------------------------------------
saving-title = Speichern auf dem Stick
saving-warning = Ziehen Sie den Stick noch nicht ab.
saving-preparing = Es wird geprüft, was sich geändert hat…
saving-progress = { $done } von { $total }
saving-speed = { $speed } je Sekunde
saving-left = noch etwa { $time }
saving-cancel = Speichern abbrechen
saving-cancel-hint = Wenn Sie abbrechen, bleibt der Stick, wie er war, und die Änderungen bleiben auf diesem PC.
saving-cancelling = Wird abgebrochen…
wiping-title = Fast fertig
wiping-text = Die Änderungen sind auf dem Stick. Temporäre Dateien werden von diesem PC entfernt.
wiping-text-discarded = Temporäre Dateien werden von diesem PC entfernt.

# --- done -----------------------------------------------------------------------------------------------------
done-unplug = Sie können den Stick jetzt abziehen
done-saved = Auf dem Stick gespeichert: { $size } an Änderungen.
done-saved-nothing = Auf dem Stick ist alles gespeichert.
done-discarded = Die Änderungen wurden wie gewünscht verworfen. Der Stick ist wie zuvor.
done-set-aside = Die Änderungen liegen als Dateien in dem Ordner, den Sie gewählt haben.
done-tidied = Die temporären Dateien der früheren Sitzung sind entfernt. Auf dem Stick ist alles gespeichert.
done-given-up = Dieser Stick macht ohne jene Änderungen weiter.
done-clean = Es war nichts zu tun. Auf dem Stick ist alles gespeichert.
done-undone = Der Stick ist wie vor jenem Speichervorgang.
done-redone = Der Stick ist wieder wie nach jenem Speichervorgang.
done-nothing-here = Von den Daten des Rechners ist auf diesem PC nichts mehr da.
done-undo = Diese Sitzung rückgängig machen
done-redo = Doch wiederherstellen
done-again = Noch einmal benutzen

# --- failures -------------------------------------------------------------------------------------------------
fail-unexpected = Etwas ist schiefgegangen
fail-usage = Das geht nicht
fail-drive = Der Stick kann nicht benutzt werden
fail-busy = Der Stick wird benutzt
fail-refused = Der Rechner kann nicht gestartet werden
fail-leftover = Eine frühere Sitzung ist nicht abgeschlossen
fail-hypervisor = Das Programm, das den Rechner ausführt (der Hypervisor), konnte nicht gestartet werden
fail-unclean = Der Rechner ist nicht ordentlich heruntergefahren
fail-merge = Die Änderungen sind noch nicht gespeichert
fail-disk = Eine Platte auf dem Stick kann nicht benutzt werden
fail-gone = Der Stick ist nicht mehr da
fail-interrupted = Die Sitzung wurde unterbrochen
fail-display = Das Fenster kann nicht gezeigt werden
fail-safe-before = Die Platten des Rechners sind unverändert, und von dieser Sitzung ist nichts auf diesem PC.
fail-safe-kept = Der Stick ist wie vor der Sitzung. Ihre Änderungen sind unversehrt auf diesem PC.
fail-safe-either = Ihre Änderungen sind auf diesem PC. Der Stick ist auf dem Stand davor oder danach, nie dazwischen.
fail-safe-unchanged = Die Platten des Rechners auf dem Stick sind unverändert.
fail-safe-saved = Ihre Änderungen sind auf dem Stick gespeichert.
fail-safe-drive = Der Stick wurde nicht geändert.
fail-next-unexpected = Sehen Sie erneut nach. Wenn es wieder geschieht, schicken Sie die Einzelheiten jemandem, der Ihnen hilft.
fail-next-usage = Sehen Sie erneut nach.
fail-next-drive = Prüfen Sie, ob der Stick mit Ihrem Rechner eingesteckt ist, und sehen Sie dann erneut nach.
fail-next-busy = Beenden Sie die andere Sitzung oder warten Sie, bis sie zu Ende ist; sehen Sie dann erneut nach.
fail-next-refused = Sehen Sie erneut nach; dort steht, was in Ordnung zu bringen ist.
fail-next-leftover = Sehen Sie erneut nach; dort wird sie erklärt.
fail-next-hypervisor = Sehen Sie erneut nach. Die Einzelheiten sagen, was der Hypervisor gemeldet hat.
fail-next-unclean = Sehen Sie erneut nach, um die Änderungen zu speichern oder zu verwerfen.
fail-next-merge = Lassen Sie den Stick stecken und sehen Sie erneut nach, um sie zu speichern.
fail-next-disk = Kopieren Sie den Stick, bevor Sie etwas anderes tun. Die Einzelheiten sagen, was nicht stimmt.
fail-next-gone = Stecken Sie den Stick wieder ein und sehen Sie dann erneut nach, um die Änderungen zu speichern.
fail-next-interrupted = Sehen Sie erneut nach, um weiterzumachen.
fail-next-display = Benutzen Sie stattdessen die Befehlszeile: `pocketvm run` startet den Rechner, `pocketvm --help` sagt alles Weitere.

# --- dialogs --------------------------------------------------------------------------------------------------
force-title = Den Rechner hart ausschalten?
force-text = Das ist, als zögen Sie den Netzstecker: Was der Rechner noch nicht geschrieben hat, ist verloren. Danach entscheiden Sie, ob Sie behalten, was er geschrieben hat.
force-yes = Hart ausschalten
force-no = Weiterlaufen lassen
discard-title = Die Änderungen verwerfen?
discard-text = { $size } an Änderungen dieser Sitzung sind dann endgültig verloren. Der Stick bleibt, wie er ist.
discard-text-running = Der Rechner wird dabei hart ausgeschaltet. { $size } an Änderungen dieser Sitzung sind dann endgültig verloren. Der Stick bleibt, wie er ist.
discard-yes = Endgültig verwerfen
discard-no = Behalten
give-up-title = Ohne jene Änderungen weitermachen?
give-up-text = Die Änderungen auf { $host } können dann nicht mehr auf diesem Stick gespeichert werden. Dort können sie weiterhin als Dateien behalten werden.
give-up-yes = Ohne sie weitermachen
give-up-no = Alles so lassen
close-title = Der Rechner läuft noch
close-text = Das Fenster gehört zur Sitzung. Was möchten Sie tun?
close-shut-down = Herunterfahren und speichern
close-stay = Weiterarbeiten
close-force = Hart ausschalten…
close-saving-title = Der Speichervorgang ist nicht fertig
close-saving-text = Ziehen Sie den Stick nicht ab. Wenn Sie abbrechen, bleibt der Stick, wie er war, und die Änderungen bleiben auf diesem PC.
close-saving-stay = Weiter speichern
close-saving-cancel = Abbrechen und schließen
close-starting-title = Der Rechner wird gerade gestartet
close-starting-text = Wenn Sie jetzt abbrechen, bleiben der Stick und dieser PC, wie sie waren.
close-starting-stay = Weiter
close-starting-stop = Abbrechen und schließen
close-working-then = Schließen, wenn sie fertig ist
close-working-stay = Fenster offen lassen
close-working-text = Ziehen Sie den Stick nicht ab. Das Fenster kann sich von selbst schließen, sobald sie fertig ist.
close-working-title = Die Arbeit am Stick ist nicht fertig
undo-title = Zurück vor jenen Speichervorgang?
undo-text = Die Platten sind dann wie vor dem Speichervorgang ({ $when }). Sie können das zurücknehmen, bis die nächste Sitzung gespeichert ist.
undo-yes = Zurückgehen
undo-no = Alles so lassen

# --- history --------------------------------------------------------------------------------------------------
history-empty = Es gibt noch keinen Speichervorgang, der rückgängig gemacht werden könnte.
history-text = Jeder Speichervorgang kann rückgängig gemacht und wiederhergestellt werden, alle seine Platten gemeinsam. Sie können vor und zurück, bis die nächste Sitzung gespeichert wird.
history-row = { $when }, auf { $host }, { $size }
history-disks = Platten: { $disks }
history-now = Auf diesem Stand ist der Stick
history-undone = rückgängig gemacht
history-first = Vor der ersten dieser Speicherungen
history-go = Zu diesem Stand
history-go-named = Zum Stand nach dem Speichervorgang ({ $when })
history-go-first = Zum Stand vor dem ersten dieser Speicherungen
history-blocked = Schließen Sie erst die Sitzung ab.
history-loading = Der Verlauf wird gelesen…

# --- log ------------------------------------------------------------------------------------------------------
log-empty = Noch ist nichts geschehen.
log-copy = Einzelheiten kopieren
log-copied = Kopiert. Im Text stehen keine Namen, Pfade oder Adressen.
log-copy-hint = Ein Bericht für jemanden, der Ihnen hilft: ohne Namen, Pfade oder Adressen.
log-step-started = { $step }…
log-step-done = { $step }: fertig nach { $seconds } s
log-notice-accelerator = Eine schnellere Art, den Rechner laufen zu lassen, wird nicht benutzt.
log-notice-awake = Dieser PC kann nicht wach gehalten werden. Lassen Sie ihn nicht in den Ruhezustand gehen, bis alles gespeichert ist.
log-notice-cloned = Dieser Stick ist die Kopie eines anderen und von jetzt an ein eigener.
log-notice-recovered = Ein unterbrochener Speichervorgang wurde auf dem Stick gefunden und in Ordnung gebracht.
log-notice-shutting-down = Der Rechner wurde gebeten, herunterzufahren.
log-notice-forcing = Der Rechner wird hart ausgeschaltet.
log-notice-host-full = Die Platte dieses PCs ist voll. Der Rechner ist angehalten.
log-notice-host-room = Es ist wieder Platz. Der Rechner läuft weiter.
log-notice-drive-gone = Der Stick ist nicht erreichbar. Der Rechner ist angehalten.
log-notice-drive-back = Der Stick ist wieder da. Der Rechner läuft weiter.
log-notice-drive-changed = Ein Stick kam zurück, der nicht so ist, wie die Sitzung ihn verlassen hat.
log-notice-drive-room = Die Änderungen passen vielleicht nicht auf den Stick.
log-notice-disk-error = Eine Platte kann nicht gelesen oder beschrieben werden. Der Rechner ist angehalten.
log-notice-hypervisor = Der Hypervisor hat nicht getan, was er sollte.
log-notice-guest-panicked = Das System des Rechners ist abgestürzt.
log-notice-adopted = Ein Rechner, der ohne PocketVM weiterlief, wird übernommen.
log-notice-leftover = Eine frühere Sitzung hat Änderungen hinterlassen.
log-notice-plain-scratch = Die Änderungen der Sitzung liegen unverschlüsselt auf diesem PC, bis sie gespeichert sind.
log-notice-abandoned = Eine Sitzung anderswo wurde wie gewünscht aufgegeben.
log-notice-stamped = Eine Platte ist neu, oder ein anderes Programm hat sie beschrieben; sie wurde geprüft.
log-notice-resumed = Der Speichervorgang geht da weiter, wo er abbrach.
log-notice-skipped = Eine Platte wird ausgelassen.
log-notice-fit = Etwas am Rechner passt nicht zu diesem PC oder zum nächsten.
log-notice-chip = Was ein Baustein des Rechners sich gemerkt hat, ist nicht brauchbar; auf dem Stick bleibt es, wie es war.
log-guest-running = Der Rechner läuft.
log-guest-paused = Der Rechner ist angehalten.
log-guest-reset = Der Rechner startet neu.
log-guest-panicked = Das System des Rechners ist abgestürzt.
log-guest-disk-error = Die Platte { $disk } konnte nicht benutzt werden.
log-guest-shutting-down = Der Rechner fährt herunter.
log-guest-ended = Der Rechner ist aus.
log-merged = { $disk }: { $changed } geändert, { $written } auf den Stick geschrieben.
log-moved = Die Platten sind auf einem anderen Stand.
log-session = Die Sitzung hat begonnen.
log-adapted = Der Rechner wurde für diese Sitzung an den Hypervisor dieses PCs angepasst.
log-adapted-none = Der Rechner passt, wie er ist, zum Hypervisor dieses PCs.

# --- settings -------------------------------------------------------------------------------------------------
settings-look = Aussehen
settings-look-hint = Dunkel, hell oder wie dieser PC eingestellt ist.
settings-look-system = Wie dieser PC
settings-look-light = Hell
settings-look-dark = Dunkel
settings-language = Sprache
settings-language-hint = Die Sprache dieses Fensters. Der Rechner hat seine eigene.
settings-language-system = Die Sprache dieses PCs
settings-size = Größe
settings-size-hint = Wie groß alles in diesem Fenster ist.
settings-where = Auf dem Stick aufbewahrt, damit sie an jedem PC gleich sind; während einer Sitzung erst vom nächsten Start an. Kein PC behält etwas.

# --- about ----------------------------------------------------------------------------------------------------
about-text = Ein Rechner, der auf einem USB-Stick lebt: einstecken, doppelklicken, arbeiten, schließen, abziehen.
about-version = Version { $version }
about-promise-title = Was PocketVM verspricht
about-promise-1 = Der Stick ist immer auf einem ganzen Stand: vor einer Sitzung oder danach, nie dazwischen.
about-promise-2 = Änderungen gehen nie verloren, während Ihnen gesagt wird, dass sie aufbewahrt sind.
about-promise-3 = Wenn das Fenster sagt, dass Sie den Stick abziehen können, liegen auf diesem PC keine Daten des Rechners mehr.
about-promise-4 = Ein Rechner wird nicht ohne Ihr Wort von einem alten Stand gestartet, während neuere Änderungen auf einem anderen PC liegen.
about-cli = Alles rund um Sitzungen geht auch mit Befehlen; siehe: pocketvm --help
about-licence = Freie Software unter der MIT-Lizenz oder der Apache-Lizenz 2.0, wie Sie möchten.
