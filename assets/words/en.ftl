# Everything that the window says, in English. `de.ftl` says the same in German; a test compares the two.

-name = PocketVM

# --- general --------------------------------------------------------------------------------------------------
window-title = { $machine } – { -name }
window-title-plain = { -name }
back = Back
details = Details
details-hide = Hide details
close-window = Close
look-again = Look again
keep-as-files = Keep as files…
not-now = Not now
page-history = History
page-log = Log
page-settings = Settings
page-about = About

day-today = today, { $time }
day-yesterday = yesterday, { $time }
day-week = { $day }, { $time }
day-date = { $date }, { $time }
weekday-1 = Monday
weekday-2 = Tuesday
weekday-3 = Wednesday
weekday-4 = Thursday
weekday-5 = Friday
weekday-6 = Saturday
weekday-7 = Sunday
duration-seconds = { $seconds ->
    [one] { $seconds } second
   *[other] { $seconds } seconds
}
duration-minutes = { $minutes ->
    [one] { $minutes } minute
   *[other] { $minutes } minutes
}
duration-hours = { $hours } h { $minutes } min

# --- looking --------------------------------------------------------------------------------------------------
looking-title = One moment
looking-text = Looking at the drive and at what this PC offers. Nothing is changed.

# --- no drive -------------------------------------------------------------------------------------------------
drives-title = Which machine?
drives-text = Several drives with a machine are plugged in. Choose the one to use.
drives-one = Use { $drive }

# --- ready ----------------------------------------------------------------------------------------------------
ready-start = Start
ready-start-hint = Starts { $machine } in a window of its own.
ready-checking = Finding out what this PC offers…
ready-clean = Everything is saved on the drive.
ready-fresh = This drive was not used yet.
ready-last = Last session: { $when }, on { $host }, { $size } saved.
ready-runs-on = Runs on
ready-with = { $hypervisor } { $version } with { $accelerator }
ready-why = Why this?
ready-why-hide = Hide why
ready-why-title = What this PC has
ready-chosen = used
ready-usable = usable
ready-use = Use { $hypervisor } with { $accelerator } instead
ready-not-usable = not used: { $reason }
ready-fix = What would help: { $fix }
ready-rate = { $rate } million loops a second in the trial
accelerator-hardware = the processor's virtualisation
accelerator-interpreter = its own interpreter
ready-copied = This hypervisor can't read the disks on the drive: a copy of { $size } lies on this PC while the machine runs, and is then removed. That takes time at the start.
ready-lacks = This hypervisor has no: { $devices }.
device-network = network
device-sound = sound
device-clipboard = one clipboard
device-usb = USB devices
device-display = a chosen screen size
device-share = a shared folder
device-variables = settings of the firmware that last
device-tpm = the TPM
ready-nothing-found = No program that can run the machine (a hypervisor, such as QEMU or VirtualBox) was found on this PC or on the drive.
ready-resources = Taken from this PC while the machine runs
ready-memory = Memory
ready-cpus = Processors
ready-proposed = Back to what is proposed
ready-disks = At the end of the session
ready-disk-keep = Keep changes to { $disk }
ready-disk-kept = Changes are saved to the drive
ready-disk-discarded = Changes are thrown away
ready-paging = Swap space, up to { $size }, stays on this PC while the machine runs and is then removed.
ready-room = Room
ready-room-here = On this PC: { $free } free, { $needed } needed
ready-room-drive = On the drive: { $free } free, { $needed } needed
ready-consent-title = Your changes on this PC
ready-consent-text = While the machine runs, its changes lie on this PC's disk without encryption. You and this PC's administrators could read them. After a crash they stay here until you save or discard them, and deleted files can leave traces.
ready-consent-copied = A copy of the machine's disks ({ $size }) lies here without encryption, too.
ready-consent = I accept that for this session
ready-plain = While the machine runs, its changes lie on this PC without encryption. The drive's owner accepted that.
ready-refused = { $count ->
    [one] One thing has to be put right first
   *[other] { $count } things have to be put right first
}
ready-scratch-elsewhere = Use another folder on this PC…

refusal-memory = { $machine } needs { $needed } of memory. This PC can spare { $spare }.
refusal-memory-fix = Close programs on this PC and look again, or use a PC with more memory.
refusal-cpus = { $machine } needs { $needed } processors. This PC has { $available }.
refusal-cpus-fix = Use a PC with more processors.
refusal-asked = The chosen memory or number of processors can't be had any more.
refusal-asked-fix = Go back to what is proposed.
refusal-scratch-room = There is too little room on this PC for a session: { $missing } are missing.
refusal-scratch-room-fix = Free some room on this PC and look again, or use another folder.
refusal-drive-room = There is too little room on the drive for the changes of a session: { $missing } are missing.
refusal-drive-room-fix = Free some room on the drive and look again.
refusal-no-window = The hypervisor on this PC can't show a window.
refusal-no-window-fix = Install its window support (on Debian and Ubuntu: apt install qemu-system-gui, or virtualbox-qt) and look again.
refusal-no-hypervisor = This PC has nothing that can run the machine.
refusal-no-hypervisor-fix = Install QEMU (on Debian and Ubuntu: apt install qemu-system-x86) or VirtualBox, or carry QEMU on the drive; then look again.
refusal-unsettled = An earlier session stands in the way.
refusal-unsettled-fix = Look again; it is explained then.

# --- a session that was left behind ---------------------------------------------------------------------------
leftover-title = Changes are waiting
leftover-text = A session on this PC ({ $when }) left { $size } of changes that are not on the drive yet.
leftover-clean = The machine had shut down properly.
leftover-unclean = The machine had not shut down properly. Its disks are as after a power cut.
leftover-running-title = The machine still runs
leftover-running = The machine of a session on this PC ({ $when }) still runs, although PocketVM no longer watches it. { $size } of changes are not on the drive yet.
leftover-moved = A session on this PC ({ $when }) left { $size } of changes. They can't be saved to the drive any more, because { $disk } on it has changed since.
leftover-unreadable = A session on this PC ({ $when }) left { $size } of changes. They can't be saved now, because a disk on the drive can't be read.
leftover-safe = The drive is intact, and these changes are kept.
leftover-tidy = Tidy up
leftover-settled = Only temporary files of an earlier session are left on this PC. Nothing in them has to be saved.
leftover-settled-title = Only tidying up is left
leftover-safe-changes = These changes are kept.
leftover-save = Save to the drive
leftover-save-running = Shut down and save
leftover-save-hint = The changes become part of the drive. You can undo that afterwards.
leftover-discard = Throw away…
leftover-later-hint = Everything stays as it is.
leftover-per-disk = { $disk }: { $size }
interrupted-title = A save was interrupted
interrupted-text = The last save to this drive was cut short. The drive is at the state before or after it, never between.
interrupted-fix = Finish now
elsewhere-title = Changes are on another PC
elsewhere-lost-title = Changes can't be found
elsewhere-original-title = This drive is a copy
elsewhere-other = The PC { $host } holds changes ({ $when }) that are not on this drive.
elsewhere-other-fix = Plug the drive into { $host } and save them there.
elsewhere-lost = A session on this PC ({ $when }) was not saved, and its folder is not where it should be.
elsewhere-lost-fix = Show the folder that holds it (see Details), if it is on another disk of this PC.
elsewhere-lost-find = Show the folder…
elsewhere-original = This drive is a copy of one whose session on { $host } ({ $when }) was not saved.
elsewhere-original-fix = Save that session with the original drive.
elsewhere-size = About { $size } were not saved.
elsewhere-safe = The drive is intact, as of the session before.
elsewhere-give-up = Go on without those changes…
elsewhere-besides = Besides, a session on this PC ({ $when }) left { $size } of changes. Keep those as files first.
busy-title = The drive is in use
busy-text = Another session is at work with this drive.
busy-fix = Finish that session, or wait until it has ended.

# --- starting -------------------------------------------------------------------------------------------------
step-detect = Finding out what this PC offers
step-plan = Planning
step-prepare = Preparing the session
step-launch = Starting the machine
step-run = The machine runs
step-merge = Saving to the drive
step-wipe = Cleaning up this PC
step-compact = Making the disks smaller
starting-title = Starting { $machine }
starting-stop = Stop
working-text = This takes a moment. Do not unplug the drive.

# --- running --------------------------------------------------------------------------------------------------
running-title = { $machine } is running
running-text = Work in its window. Shut it down there or here; what is to be kept is then saved to the drive.
running-time = Running for { $time }
running-unsaved = Not yet on the drive
running-unsaved-disk = { $disk }: { $size }
running-discarded-disk = { $disk }: { $size }, thrown away at the end
running-plot = Changes on this PC over time, in total { $size }
running-memory = Memory used on this PC: { $size }
running-room = Room left on this PC: { $size }
running-changes = { $count ->
    [one] One thing in the machine was fitted to this PC's hypervisor; that is among this session's changes:
   *[other] { $count } things in the machine were fitted to this PC's hypervisor; that is among this session's changes:
}
running-keys = Mouse caught in the machine's window? { $keys } gives it back.
running-shut-down = Shut down
running-shut-down-again = Ask again
running-shutting-down = Shutting down…
running-shutting-down-text = The machine was asked to shut down. It may ask you something in its own window.
running-force = Force off…
running-paused = Paused

trouble-drive-gone = The drive can't be reached
trouble-drive-gone-safe = The machine is paused and nothing is lost.
trouble-drive-gone-next = Plug the same drive in again, at any port. The machine then goes on by itself.
trouble-drive-changed = This is not the drive as the session left it
trouble-drive-changed-safe = The machine is paused and its changes are on this PC.
trouble-drive-changed-next = Plug in the drive that the session was started from.
trouble-host-full = This PC's disk is full
trouble-host-full-safe = The machine is paused and nothing is lost.
trouble-host-full-next = Free 32 MiB or more on this PC. The machine then goes on by itself.
trouble-disk-error = A disk can't be read or written
trouble-disk-error-safe = The machine is paused and nothing is lost. It is tried again a few times.
trouble-disk-error-next = If it stays like this, unplug the drive and plug it in again.
trouble-drive-room = The changes may not fit on the drive
trouble-drive-room-safe = Nothing is lost.
trouble-drive-room-next = Free some room on the drive before you shut down.
trouble-hypervisor = The program that runs the machine (the hypervisor) did not do what was asked
trouble-hypervisor-safe = The machine's changes are on this PC.
trouble-hypervisor-next = If nothing changes, force the machine off.
trouble-guest-panicked = The machine's system crashed
trouble-guest-panicked-safe = Its changes are kept on this PC until you decide about them.
trouble-guest-panicked-next = Wait until it restarts, or force it off.

# --- the machine did not end cleanly --------------------------------------------------------------------------
unclean-forced = The machine was forced off
unclean-panicked = The machine's system crashed
unclean-died = The program that runs the machine (the hypervisor) ended unexpectedly
unclean-hibernated = The machine was hibernated, not shut down
unclean-safe = The drive is as before the session. The changes are on this PC, but may hold half-written files, as after a power cut.
unclean-text = Save them if there is something in them that you need. You can undo that afterwards.
unclean-save = Save to the drive
unclean-discard = Throw away…
unclean-later = Decide later
question-title = Please decide
question-accept = Go on

copying-text = Copying the disks to this PC, where this hypervisor can read them…

# --- saving ---------------------------------------------------------------------------------------------------
saving-title = Saving to the drive
saving-warning = Do not unplug the drive yet.
saving-preparing = Looking at what has changed…
saving-progress = { $done } of { $total }
saving-speed = { $speed } a second
saving-left = about { $time } left
saving-cancel = Cancel saving
saving-cancel-hint = If you cancel, the drive stays as it was, and the changes stay on this PC.
saving-cancelling = Cancelling…
wiping-title = Almost done
wiping-text = The changes are on the drive. Temporary files are being removed from this PC.
wiping-text-discarded = Temporary files are being removed from this PC.

# --- done -----------------------------------------------------------------------------------------------------
done-unplug = You can unplug now
done-saved = { $size } of changes are saved on the drive.
done-saved-nothing = Everything is saved on the drive.
done-discarded = The changes were thrown away, as you asked. The drive is as before.
done-set-aside = The changes are kept as files in the folder that you chose.
done-tidied = The temporary files of the earlier session are gone. Everything is saved on the drive.
done-given-up = This drive goes on without those changes.
done-clean = There was nothing to do. Everything is saved on the drive.
done-undone = The drive is as before that save.
done-redone = The drive is as after that save again.
done-nothing-here = Nothing of the machine's data is left on this PC.
done-undo = Undo this session
done-redo = Take that back
done-again = Use it again

# --- failures -------------------------------------------------------------------------------------------------
fail-unexpected = Something went wrong
fail-usage = That can't be done
fail-drive = The drive can't be used
fail-busy = The drive is in use
fail-refused = The machine can't be started
fail-leftover = An earlier session is not finished
fail-hypervisor = The program that runs the machine (the hypervisor) could not be started
fail-unclean = The machine did not shut down properly
fail-merge = The changes are not saved yet
fail-disk = A disk on the drive can't be used
fail-gone = The drive is gone
fail-interrupted = The session was interrupted
fail-display = The window can't be shown
fail-safe-before = The machine's disks are unchanged, and nothing of this session is on this PC.
fail-safe-kept = The drive is as before the session. Your changes are intact on this PC.
fail-safe-either = Your changes are on this PC. The drive is at the state before or after them, never between.
fail-safe-unchanged = The machine's disks on the drive are unchanged.
fail-safe-saved = Your changes are saved on the drive.
fail-safe-drive = The drive was not changed.
fail-next-unexpected = Look again. If it happens again, send the details to whoever helps you.
fail-next-usage = Look again.
fail-next-drive = Check that the drive with your machine is plugged in, then look again.
fail-next-busy = Finish the other session, or wait until it has ended; then look again.
fail-next-refused = Look again; what has to be put right is shown there.
fail-next-leftover = Look again; it is explained there.
fail-next-hypervisor = Look again. The details tell what the hypervisor said.
fail-next-unclean = Look again to save the changes or to throw them away.
fail-next-merge = Leave the drive plugged in and look again to save them.
fail-next-disk = Make a copy of the drive before anything else. The details tell what is wrong.
fail-next-gone = Plug the drive in again, then look again to save the changes.
fail-next-interrupted = Look again to go on.
fail-next-display = Use the command line instead: `pocketvm run` starts the machine, `pocketvm --help` tells the rest.

# --- dialogs --------------------------------------------------------------------------------------------------
force-title = Force the machine off?
force-text = It is like pulling the power plug: what the machine has not written yet is lost. You then decide whether to keep what it did write.
force-yes = Force off
force-no = Let it run
discard-title = Throw the changes away?
discard-text = { $size } of changes of this session will be gone for good. The drive stays as it is.
discard-text-running = The machine is forced off. { $size } of changes of this session will be gone for good. The drive stays as it is.
discard-yes = Throw away for good
discard-no = Keep them
give-up-title = Go on without those changes?
give-up-text = The changes on { $host } can then not be saved to this drive any more. They can still be kept there as files.
give-up-yes = Go on without them
give-up-no = Leave it as it is
close-title = The machine is still running
close-text = The window belongs to the session. What would you like to do?
close-shut-down = Shut down and save
close-stay = Keep working
close-force = Force off…
close-saving-title = Saving is not finished
close-saving-text = Do not unplug the drive. If you cancel, the drive stays as it was and the changes stay on this PC.
close-saving-stay = Keep saving
close-saving-cancel = Cancel saving and close
close-starting-title = The machine is being started
close-starting-text = Stopping now leaves the drive and this PC as they were.
close-starting-stay = Go on
close-starting-stop = Stop and close
close-working-then = Close when it is finished
close-working-stay = Keep the window open
close-working-text = Do not unplug the drive. The window can close by itself as soon as it is finished.
close-working-title = Work on the drive is not finished
undo-title = Go back to before that save?
undo-text = The disks will be as before the save of { $when }. You can take that back until the next session is saved.
undo-yes = Go back
undo-no = Leave it as it is

# --- history --------------------------------------------------------------------------------------------------
history-empty = There is no save yet that could be undone.
history-text = Each save can be undone and redone; all its disks together. You can go back and forth until the next session is saved.
history-row = { $when }, on { $host }, { $size }
history-disks = Disks: { $disks }
history-now = The drive is in this state
history-undone = undone
history-first = Before the first of these saves
history-go = Go to this state
history-go-named = Go to the state after the save of { $when }
history-go-first = Go to the state before the first of these saves
history-blocked = Finish the session first.
history-loading = Reading the history…

# --- log ------------------------------------------------------------------------------------------------------
log-empty = Nothing has happened yet.
log-copy = Copy details
log-copied = Copied. The text has no names, paths or addresses in it.
log-copy-hint = A report for whoever helps you: without names, paths or addresses.
log-step-started = { $step }…
log-step-done = { $step }: done after { $seconds } s
log-notice-accelerator = A faster way to run the machine is not used.
log-notice-awake = This PC can't be kept awake. Do not let it sleep until everything is saved.
log-notice-cloned = This drive is a copy of another one and is a drive of its own from now on.
log-notice-recovered = An interrupted save was found on the drive and put right.
log-notice-shutting-down = The machine was asked to shut down.
log-notice-forcing = The machine is forced off.
log-notice-host-full = This PC's disk is full. The machine is paused.
log-notice-host-room = There is room again. The machine goes on.
log-notice-drive-gone = The drive can't be reached. The machine is paused.
log-notice-drive-back = The drive is back. The machine goes on.
log-notice-drive-changed = A drive came back that is not as the session left it.
log-notice-drive-room = The changes may not fit on the drive.
log-notice-disk-error = A disk can't be read or written. The machine is paused.
log-notice-hypervisor = The hypervisor did not do what was asked.
log-notice-guest-panicked = The machine's system crashed.
log-notice-adopted = A machine that ran on without PocketVM is taken over.
log-notice-leftover = An earlier session left changes behind.
log-notice-plain-scratch = The session's changes lie on this PC without encryption until they are saved.
log-notice-abandoned = A session elsewhere was given up, as asked.
log-notice-stamped = A disk is new, or another program wrote to it; it was checked.
log-notice-resumed = Saving goes on where it was cut off.
log-notice-skipped = A disk is left out.
log-notice-fit = Something in the machine does not fit this PC or the next one.
log-notice-chip = What a chip of the machine remembered can't be used; on the drive it stays as it was.
log-guest-running = The machine runs.
log-guest-paused = The machine is paused.
log-guest-reset = The machine restarts.
log-guest-panicked = The machine's system crashed.
log-guest-disk-error = The disk { $disk } could not be used.
log-guest-shutting-down = The machine shuts down.
log-guest-ended = The machine has ended.
log-merged = { $disk }: { $changed } changed, { $written } written to the drive.
log-moved = The disks are in another state.
log-session = The session has begun.
log-adapted = The machine was fitted to this PC's hypervisor, for this session.
log-adapted-none = The machine fits this PC's hypervisor as it is.

# --- settings -------------------------------------------------------------------------------------------------
settings-look = Appearance
settings-look-hint = Dark, light, or as this PC is set.
settings-look-system = As this PC
settings-look-light = Light
settings-look-dark = Dark
settings-language = Language
settings-language-hint = The language of this window. The machine has its own.
settings-language-system = The language of this PC
settings-size = Size
settings-size-hint = How large everything in this window is.
settings-where = Kept on the drive, so that they are the same on every PC; while a session runs, from the next start on. No PC keeps anything.

# --- about ----------------------------------------------------------------------------------------------------
about-text = A computer that lives on a USB stick: plug in, double-click, work, close, unplug.
about-version = Version { $version }
about-promise-title = What it promises
about-promise-1 = The drive is always at one whole state: before a session or after it, never between.
about-promise-2 = Changes are never lost while you are told that they are kept.
about-promise-3 = When the window says that you can unplug, this PC holds none of the machine's data.
about-promise-4 = A machine is not started from an old state without your word while newer changes are on another PC.
about-cli = Everything about sessions can also be done by commands; see: pocketvm --help
about-licence = Free software under the MIT licence or the Apache licence 2.0, as you prefer.
