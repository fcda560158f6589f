# PocketVM's way to Hyper-V: makes a machine from the commands beside this file, or finds one again, and is then the channel to
# it. It prints JSON, one object a line; it reads "NUMBER WORD" lines. It is not from the drive.
param(
    [Parameter(Mandatory = $true)]
    [ValidateSet('start', 'attach', 'ending', 'state', 'forget')]
    [string] $Mode,
    # The session, which the machine's notes name.
    [Parameter(Mandatory = $true)]
    [guid] $Session,
    # The machine's SMBIOS UUID.
    [string] $Uuid = '',
    # When it was started.
    [string] $Since = '',
    # The program that shows it in a window.
    [string] $Window = ''
)

$ErrorActionPreference = 'Stop'
Set-StrictMode -Version 2
# Some lists would become objects with a count otherwise.
Remove-TypeData -TypeName 'System.Array' -ErrorAction SilentlyContinue
$space = 'root/virtualization/v2'
$mark = 'PocketVM session '
# The network that Windows shares its own way out with has the same id everywhere, but not the same name.
$shared = 'c08cb7b8-9b3c-408e-8e30-5e16a3aeb444'
# How a machine can end, in the words of Hyper-V's log: turned off; shut down by its integration service; by the guest; turned
# off after a critical error; the guest crashed; it hibernated; its process ended.
# And how it starts: should one of these be the last, nothing says how it ended.
$halts = 18502, 18504, 18508, 18528, 18590, 18608, 14070, 18500, 18596
$logs = 'Microsoft-Windows-Hyper-V-Worker-Admin', 'Microsoft-Windows-Hyper-V-VMMS-Admin'

$utf8 = New-Object System.Text.UTF8Encoding $false
$out = New-Object System.IO.StreamWriter ([Console]::OpenStandardOutput()), $utf8
$out.AutoFlush = $true
$in = New-Object System.IO.StreamReader ([Console]::OpenStandardInput()), $utf8

function Say([hashtable] $what) {
    $out.WriteLine((ConvertTo-Json -InputObject $what -Compress -Depth 4))
}

function Find-Own {
    Get-VM | Where-Object { $_.Notes -eq "$mark$Session" } | Select-Object -First 1
}

# A machine that has just ended may be busy for a moment.
function Remove-Own($vm) {
    for ($try = 1; $try -lt 10; $try++) {
        try {
            Remove-VM -VM $vm -Force
            return
        } catch {
            Start-Sleep -Milliseconds 500
        }
    }
    Remove-VM -VM $vm -Force
}

function Get-Images($vm) {
    @(Get-VMHardDiskDrive -VM $vm | ForEach-Object { [string] $_.Path })
}

# Machines of sessions that are gone.
function Clear-Left {
    $root = Split-Path -Parent $PSScriptRoot
    Get-VM | Where-Object { $_.State -eq 'Off' -and $_.Notes -like "$mark*" } | ForEach-Object {
        $folder = Join-Path $root $_.Notes.Substring($mark.Length)
        if (-not (Test-Path -LiteralPath $folder)) {
            Remove-VM -VM $_ -Force -ErrorAction SilentlyContinue
        }
    }
}

function Set-Uuid($vm) {
    $filter = "VirtualSystemIdentifier = '$($vm.Id)' AND VirtualSystemType = 'Microsoft:Hyper-V:System:Realized'"
    $settings = Get-WmiObject -Namespace $space -Class 'Msvm_VirtualSystemSettingData' -Filter $filter
    $settings.BIOSGUID = "{$Uuid}".ToUpper()
    $service = Get-WmiObject -Namespace $space -Class 'Msvm_VirtualSystemManagementService'
    # 1 is CIM DTD 2.0; 4096 is a job that goes on by itself.
    $result = $service.ModifySystemSettings($settings.GetText(1))
    if ($result.ReturnValue -ne 0 -and $result.ReturnValue -ne 4096) {
        throw "its UUID can't be set (code $($result.ReturnValue))"
    }
}

function New-Own {
    Clear-Left
    if (Find-Own) {
        throw 'there is a machine of this session already'
    }
    $lan = ''
    $found = Get-VMSwitch -Id $shared -ErrorAction SilentlyContinue
    if ($found) {
        $lan = $found.Name
    }
    $vm = $null
    . (Join-Path $PSScriptRoot 'machine.ps1') | Out-Null
    Set-Uuid $vm
    $vm = Get-VM -Id $vm.Id
    $cards = @(Get-VMNetworkAdapter -VM $vm | ForEach-Object { @{ mac = [string] $_.MacAddress; lan = ($_.SwitchName -eq $lan) } })
    Say @{
        event = 'created'
        id = [string] $vm.Id
        time = [DateTime]::UtcNow.ToString('o')
        generation = [int] $vm.Generation
        memory = [long] $vm.MemoryStartup
        cpus = [int] $vm.ProcessorCount
        checkpoints = [string] $vm.CheckpointType
        disks = @(Get-Images $vm)
        others = @(Get-VMDvdDrive -VM $vm).Count
        cards = $cards
    }
    return $vm
}

# What Hyper-V's log says about how it ended, oldest first.
function Get-Halts($vm) {
    $from = [DateTime]::Parse($Since, [Globalization.CultureInfo]::InvariantCulture, [Globalization.DateTimeStyles]::RoundtripKind)
    $filter = @{ LogName = $logs; StartTime = $from.ToLocalTime(); Id = $halts }
    $id = ([string] $vm.Id).ToUpper()
    $found = Get-WinEvent -FilterHashtable $filter -ErrorAction SilentlyContinue | Where-Object { $_.ToXml().ToUpper().Contains($id) }
    @($found | Sort-Object -Property TimeCreated, RecordId | ForEach-Object { [int] $_.Id })
}

function Test-Over([string] $state) {
    'Off', 'Saved', 'FastSaved', 'OffCritical', 'SavedCritical' -contains $state
}

function Say-End($vm) {
    # The log is written a moment later.
    $found = @()
    $looks = 0
    if (Test-Over $vm.State) {
        $looks = 20
    }
    for ($look = 0; $look -lt $looks -and $found.Count -eq 0; $look++) {
        if ($look -gt 0) {
            Start-Sleep -Milliseconds 250
        }
        $found = @(Get-Halts $vm)
    }
    Say @{ event = 'off'; state = [string] $vm.State; halts = $found; disks = @(Get-Images $vm) }
}

function Invoke-Word($vm, [string] $word) {
    switch ($word) {
        'shutdown' {
            $part = Get-CimInstance -Namespace $space -ClassName 'Msvm_ShutdownComponent' -Filter "SystemName = '$($vm.Id)'"
            if (-not $part) {
                throw 'the guest does not answer to its shutdown service'
            }
            $result = Invoke-CimMethod -InputObject $part -MethodName 'InitiateShutdown' -Arguments @{ Force = $false; Reason = 'PocketVM' }
            if ($result.ReturnValue -ne 0 -and $result.ReturnValue -ne 4096) {
                throw "the guest does not take the request (code $($result.ReturnValue))"
            }
        }
        'off' { Stop-VM -VM $vm -TurnOff -Force }
        'pause' { Suspend-VM -VM $vm }
        'resume' { Resume-VM -VM $vm }
        default { throw 'there is no such word' }
    }
}

# Tells of changes until the machine is off, or until nobody listens any more.
function Watch-Own($vm) {
    $query = "SELECT * FROM __InstanceModificationEvent WITHIN 1 WHERE TargetInstance ISA 'Msvm_ComputerSystem'" +
        " AND TargetInstance.Name = '$(([string] $vm.Id).ToUpper())' AND TargetInstance.EnabledState <> PreviousInstance.EnabledState"
    Register-CimIndicationEvent -Namespace $space -Query $query -SourceIdentifier 'pocketvm' | Out-Null
    $told = ''
    $quiet = 0
    $look = $true
    $line = $in.ReadLineAsync()
    while ($true) {
        if ($look) {
            $vm = Get-VM -Id $vm.Id
            $state = [string] $vm.State
            if ($state -ne $told) {
                $told = $state
                Say @{ event = 'state'; state = $state; pid = [int] (Get-Worker $vm) }
            }
            if (Test-Over $state) {
                Say-End $vm
                return
            }
        }
        $change = Wait-Event -SourceIdentifier 'pocketvm' -Timeout 1
        if ($change) {
            $change | Remove-Event
        }
        # An event that got lost is made up for.
        $quiet = $quiet + 1
        $look = $change -or $quiet -ge 15
        if ($look) {
            $quiet = 0
        }
        if ($line.IsCompleted) {
            if ($null -eq $line.Result) {
                return
            }
            $number, $word = $line.Result -split ' ', 2
            try {
                Invoke-Word $vm $word
                Say @{ event = 'done'; number = [int] $number; error = '' }
            } catch {
                Say @{ event = 'done'; number = [int] $number; error = [string] $_.Exception.Message }
            }
            $look = $true
            $line = $in.ReadLineAsync()
        }
    }
}

# The process that runs it; 0 if none does.
function Get-Worker($vm) {
    $system = Get-CimInstance -Namespace $space -ClassName 'Msvm_ComputerSystem' -Filter "Name = '$($vm.Id)'"
    if ($system -and $system.ProcessID) { $system.ProcessID } else { 0 }
}

try {
    Import-Module -Name 'Hyper-V'
    if ($Mode -eq 'start') {
        $vm = New-Own
        if ($in.ReadLine() -ne 'start') {
            Remove-Own $vm
            exit 0
        }
        $Since = [DateTime]::UtcNow.ToString('o')
        Start-VM -VM $vm
    } else {
        $vm = Find-Own
    }
    if (-not $vm) {
        Say @{ event = 'gone' }
    } elseif ($Mode -eq 'forget') {
        Remove-Own $vm
        Say @{ event = 'gone' }
    } elseif ($Mode -eq 'state') {
        Say @{ event = 'state'; state = [string] $vm.State; pid = [int] (Get-Worker $vm) }
    } elseif ($Mode -eq 'ending') {
        Say-End $vm
    } else {
        if ($Window) {
            Start-Process -FilePath $Window -ArgumentList 'localhost', '-G', ([string] $vm.Id)
        }
        Watch-Own $vm
    }
} catch {
    Say @{ event = 'failed'; error = [string] $_.Exception.Message }
    exit 1
}
