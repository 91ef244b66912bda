package pull

import "github.com/bootlace/bootlace/boot/tftp"

var testTFTP = tftp.Client{}
