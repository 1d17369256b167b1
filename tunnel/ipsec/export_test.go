package ipsec

import (
	"unsafe"

	"github.com/warrenvpn/warren/dataplane"
)

// Sizes are those of what workers read of a tunnel: the tunnel itself and its snapshot.
var Sizes = [2]uintptr{unsafe.Sizeof(Tunnel{}), unsafe.Sizeof(outbound{})}

// Keep is keep of a datagram that came alone.
func (e *Early) Keep(u dataplane.Underlay, spi uint32, d []byte) bool {
	return e.keep(u, &dataplane.Train{Data: d, Size: len(d)}, spi, d)
}
