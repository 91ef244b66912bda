// Package dhcp answers DHCPv4 on a link, for machines that boot from it. It is
// a ProxyDHCP beside the server that gives addresses, or that server itself. The
// appliance runs one Server for each link.
//
// How a machine boots, as seen from here. It broadcasts a DISCOVER that says
// what it is. Option 60 is PXEClient, 93 its architecture, 97 its UUID. We
// answer with the file that its loader wants, and in full mode with an address.
//
//	iPXE          takes siaddr and the file from the offer, proxy or not. In
//	              full mode option 175.176 saves it the wait for a ProxyDHCP.
//	UEFI (EDK2)   in proxy mode is offered only the words PXEClient, gets its
//	              address elsewhere and asks us on port 4011 for the file; in
//	              full mode takes the file from the offer, which then must not
//	              say PXEClient.
//	UEFI HTTP     wants option 60 HTTPClient in the offer, and a URL.
//	U-Boot        takes siaddr, asks there for boot.scr.uimg, whatever file was
//	              offered, and then asks by DHCP again, as a UEFI machine, for
//	              an EFI program.
//	PXE ROM       is given iPXE to run on its driver (undionly.kpxe), which
//	              then asks again as iPXE.
//	Raspberry Pi  looks for a text in option 43, and asks for files by names of
//	              its own; a Pi 3 sends no REQUEST after an offer.
//	our own agent is told by option 60 that this is the appliance.
//
// A packet goes through receive.go, parse.go, want.go, lease.go, respond.go,
// encode.go and send.go, in this order. What is said is decided by a pure
// function, respond. The others have the sockets and ask for leases and
// decisions.
//
// The package never decides what a machine boots. That is Server.Decide. Quirks
// of firmware are known to package board. The package reads no file.
package dhcp
