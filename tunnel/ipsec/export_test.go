package ipsec

import "github.com/warrenvpn/warren/dataplane"

// Keep is keep of a datagram that came alone.
func (e *Early) Keep(u dataplane.Underlay, spi uint32, d []byte) bool {
	return e.keep(u, &dataplane.Train{Data: d, Size: len(d)}, spi, d)
}
