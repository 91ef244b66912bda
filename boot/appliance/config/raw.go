package config

// rawTFTP may also be written as an address, see yaml.go.
type rawTFTP struct {
	Listen     string `yaml:"listen"`
	SinglePort bool   `yaml:"single_port"`
	Blksize    string `yaml:"blksize"`
	Windowsize string `yaml:"windowsize"`
	Fragments  bool   `yaml:"fragments"`
	Rollover   string `yaml:"rollover"`
	Transfers  string `yaml:"transfers"`
	PerClient  string `yaml:"per_client"`
	HalfOpen   string `yaml:"half_open"`
}

type rawDHCP struct {
	Mode    string      `yaml:"mode"`
	Subnets []rawSubnet `yaml:"subnets"`
	Hosts   []rawHost   `yaml:"hosts"`
}

type rawSubnet struct {
	Net    string `yaml:"net"`
	Pool   string `yaml:"pool"`
	Router string `yaml:"router"`
	DNS    list   `yaml:"dns"`
	Lease  string `yaml:"lease"`
}

type rawHost struct {
	MAC  string `yaml:"mac"`
	IP   string `yaml:"ip"`
	Name string `yaml:"name"`
}

type rawImage struct {
	File   string `yaml:"file"`
	SHA256 string `yaml:"sha256"`
}

type rawProfile struct {
	Name      string      `yaml:"name"`
	Match     rawMatch    `yaml:"match"`
	Action    string      `yaml:"action"`
	Image     byBoard     `yaml:"image"`
	Disk      rawDisk     `yaml:"disk"`
	Transfer  rawTransfer `yaml:"transfer"`
	OnFailure string      `yaml:"on_failure"`
	Then      string      `yaml:"then"`
	Kernel    string      `yaml:"kernel"`
	Initrd    string      `yaml:"initrd"`
	Cmdline   string      `yaml:"cmdline"`
}

type rawMatch struct {
	MAC       list `yaml:"mac"`
	UUID      list `yaml:"uuid"`
	Serial    list `yaml:"serial"`
	Board     list `yaml:"board"`
	Arch      list `yaml:"arch"`
	Interface list `yaml:"interface"`
	Circuit   list `yaml:"circuit"`
}

type rawDisk struct {
	Serial    string `yaml:"serial"`
	WWN       string `yaml:"wwn"`
	Model     string `yaml:"model"`
	Min       string `yaml:"min"`
	Max       string `yaml:"max"`
	Overwrite bool   `yaml:"overwrite"`
}

type rawTransfer struct {
	Order   list   `yaml:"order"`
	TFTPMax string `yaml:"tftp_max"`
}
