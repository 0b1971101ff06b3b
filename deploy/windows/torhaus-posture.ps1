# Reports the state of this Windows machine to Torhaus (docs/posture-report.md), with the client certificate of the machine.
# Run it as SYSTEM from the task scheduler, every hour:
#   schtasks /Create /TN Torhaus-Posture /SC HOURLY /RU SYSTEM /TR "powershell -NoProfile -ExecutionPolicy AllSigned -File C:\ProgramData\Torhaus\torhaus-posture.ps1 -Gate https://wiki.example.test -Issuer 'CN=Torhaus devices'"
# What cannot be read is left out, and is unknown to the gate.
param(
    # Any host of the gate that takes certificates of devices; without it the report is printed.
    [string]$Gate,
    # Part of the issuer's name of the machine's certificate.
    [string]$Issuer,
    # Where that certificate is. Cert:\CurrentUser\My is for a task of the user: docs/enroll.md says what it cannot read.
    [string]$Store = 'Cert:\LocalMachine\My'
)
$ErrorActionPreference = 'Stop'

# The value of a block, or nothing if it cannot be read.
function Read-Fact([scriptblock]$Block) { try { & $Block } catch { $null } }

$report = [ordered]@{ version = 1; observed_at = (Get-Date).ToUniversalTime().ToString('yyyy-MM-ddTHH:mm:ssZ') }

$facts = [ordered]@{
    serial         = Read-Fact { (Get-CimInstance Win32_BIOS).SerialNumber }
    # Every fixed volume, and not only while it is being encrypted.
    disk_encrypted = Read-Fact {
        $fixed = @(Get-Volume | Where-Object { $_.DriveType -eq 'Fixed' -and $_.DriveLetter } | ForEach-Object { "$($_.DriveLetter):" })
        if ($fixed.Count -eq 0) { return $null }
        $volumes = @(Get-BitLockerVolume -MountPoint $fixed)
        $open = @($volumes | Where-Object { $_.ProtectionStatus -ne 'On' -or $_.VolumeStatus -ne 'FullyEncrypted' })
        $open.Count -eq 0
    }
    # All three profiles: the network may become a public one.
    firewall       = Read-Fact { @(Get-NetFirewallProfile | Where-Object { "$($_.Enabled)" -ne 'True' }).Count -eq 0 }
    secure_boot    = Read-Fact { [bool](Confirm-SecureBootUEFI) }
    edr            = Read-Fact {
        $others = @(Get-Service -Name CSFalconService, SentinelAgent, Sense -ErrorAction SilentlyContinue)
        if (@($others | Where-Object { $_.Status -eq 'Running' }).Count -gt 0) { return 'healthy' }
        $defender = Get-MpComputerStatus
        if (-not $defender.AntivirusEnabled) { if ($others.Count -gt 0) { return 'unhealthy' } else { return 'absent' } }
        if ($defender.RealTimeProtectionEnabled -and $defender.AntivirusSignatureAge -le 7) { 'healthy' } else { 'unhealthy' }
    }
    patch_age_days = Read-Fact {
        $last = Get-HotFix | Where-Object { $_.InstalledOn } | Sort-Object InstalledOn | Select-Object -Last 1
        [math]::Max(0, [math]::Floor(((Get-Date) - $last.InstalledOn).TotalDays))
    }
    os             = Read-Fact {
        $current = Get-ItemProperty 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
        [ordered]@{ family = 'windows'; version = "$((Get-CimInstance Win32_OperatingSystem).Version).$($current.UBR)" }
    }
}
foreach ($name in $facts.Keys) { if ($null -ne $facts[$name]) { $report[$name] = $facts[$name] } }
$json = $report | ConvertTo-Json -Depth 3

if (-not $Gate) { $json; exit 0 }
$now = Get-Date
$certificate = Get-ChildItem $Store |
    Where-Object { $_.HasPrivateKey -and $_.NotAfter -gt $now -and $_.Issuer -like "*$Issuer*" } |
    Sort-Object NotAfter | Select-Object -Last 1
if (-not $certificate) { throw "No certificate of an issuer like '$Issuer' with its key is in $Store" }
Invoke-RestMethod -Method Post -Uri "$($Gate.TrimEnd('/'))/.torhaus/posture" -Certificate $certificate `
    -ContentType 'application/json' -Body $json | Out-Null
'the gate took the report'
