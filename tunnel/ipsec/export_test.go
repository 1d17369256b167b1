package ipsec

import (
	"unsafe"

	"github.com/warrenvpn/warren/dataplane"
)

// Sizes are those of a tunnel and of what workers read of it, and of its snapshot likewise.
var Sizes = [4]uintptr{unsafe.Sizeof(Tunnel{}), unsafe.Offsetof(Tunnel{}.name), unsafe.Sizeof(outbound{}), unsafe.Offsetof(outbound{}.children)}

// Keep is keep of a datagram that came alone.
func (e *Early) Keep(u dataplane.Underlay, spi uint32, d []byte) bool {
	return e.keep(u, &dataplane.Train{Data: d, Size: len(d)}, spi, d)
}
