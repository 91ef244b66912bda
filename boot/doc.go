// Package boot holds the nouns and contracts that both halves share. The nouns
// are Machine, Profile, Plan, Event, Report and Order. There is a table of
// protocols, one of actions and one of kinds of events.
//
// Every package of the two halves may import it. It owns the JSON forms that
// appliance and device exchange. It does no I/O; the packages below it do.
//
// boot/appliance is the serving half, which runs on a host. boot/agent is the
// device half, which runs on the machine. Neither imports the other. What they
// exchange is defined here, and in board where it is about hardware.
//
// # The story of a boot
//
// A machine is switched on, with the network first in its boot order.
//
// 1. Firmware asks for an address. It broadcasts a DHCPDISCOVER, whose options
// say what it is. These are 93 (architecture), 60 (PXEClient, HTTPClient,
// U-Boot), 77 (iPXE) and 97 (UUID). Package dhcp parses it into a Request.
// board.Recognise finds the board and the loader.
//
// 2. The appliance decides. The root's machines ask registry who this is, and
// policy what it gets. catalog says from memory which firmware there is. The
// answer is a BootInfo with a boot file. In proxy mode another server gives
// the address. Nothing here reads a disk.
//
// 3. The loader fetches the boot file, by TFTP or HTTP. UEFI gets our kernel as
// one EFI program. iPXE and U-Boot get a script that package loaders writes for
// this machine. Then they fetch kernel and initramfs. Every request goes
// through files.Tree, which serves the root and what is made on the fly.
//
// 4. The kernel starts. Its command line names the appliance, as
// bootlace.server=ADDR. Its init is the agent, whose first line is
// "bootlace agent VERSION BOARD". It loads drivers and waits for a link with
// carrier. It asks for an address with user class "bootlace".
//
// 5. The agent fetches its plan by TFTP, as plan/MAC/BOOT. BOOT is 32 hex
// digits that it drew, so that no two boots share a plan. A Plan is JSON.
// It has the action, the image and its manifest's digest, the servers in order,
// and a token. A plan for another machine or boot is refused.
//
// 6. The agent carries the plan out. For flash it chooses a disk. It pulls the
// manifest by TFTP and the image by FTP, or as the profile says. Package flash
// writes the image. Each block is read back and compared with the manifest. The
// first MiB comes last. So an interrupted flash leaves no system that starts.
//
// 7. The agent reports. It posts a Report to /api/machines/MAC/events with its
// token. The appliance adds each Event to the journal. The log, the API and
// `bootlace why` show it. Once "done" is acknowledged, the job ends.
//
// 8. The machine leaves: it resets, and its firmware asks again, as in 1. The
// registry knows it as flashed now. It is told to boot from its disk. iPXE uses
// sanboot, and U-Boot its own boot targets. For UEFI the agent sets BootNext.
//
// # What always holds
//
// A file name from the network is resolved by files.Clean alone, inside an
// os.Root. Bytes reach a disk only under a plan that names it. "done" is said
// only after what was written was read back and agreed. Memory is bounded by
// windows, blocks and caches, never by file sizes or the number of clients.
package boot
