// Package catalog knows what is in the served folder. It knows which boards
// have firmware, what each image is, and the digests of kernels.
//
// The appliance's root calls it for a DHCP answer, a loader's script or a plan.
// Has answers from memory, so no packet waits for a disk. Run reads the folder
// once a second. Image and File read it at once, since a plan promises what
// they say. The package owns the manifests in the state folder. It never
// decides who gets what.
//
// # Images and manifests
//
// An image has a manifest beside it, NAME.manifest. Nothing is flashed without
// one. `bootlace image add` makes it. If the config names an image
// without one, it is made at start and kept in the state folder.
//
// A manifest belongs to exactly one content of its file. Image refuses an image
// whose size is not the manifest's. The device then checks every digest.
package catalog
