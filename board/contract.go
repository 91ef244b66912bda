package board

// Names that those who make firmware and disks agree on with those who read
// them on the machine.
const (
	// ModulesFile lists the kernel modules of an initramfs, one path a line.
	// Each stands after those it depends on.
	ModulesFile = "/etc/bootlace/modules"
	// BoardFile holds the name of the board that an initramfs was built for.
	BoardFile = "/etc/bootlace/board"

	// VolumeLabel names the file system that holds an appliance's files, ext4
	// or FAT.
	VolumeLabel = "BOOTLACE"
	// VolumeConfig is the appliance's config on that file system. Beside it lie
	// the folders root and state.
	VolumeConfig = "bootlace.yaml"
)
