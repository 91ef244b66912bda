// Package catalog knows what lies in the served folder: which boards have
// firmware, what each image is, and the digests of kernels.
//
// The appliance's root asks it for a DHCP answer, a loader's script or a plan.
// Has answers from memory, so no packet waits for a disk. Run looks at the
// folder once a second. Image and File look at it at once, since a plan
// promises what they say. The package owns the manifests that were made at
// start, which lie in the state folder. It never decides who gets what.
package catalog
