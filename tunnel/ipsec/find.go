package ipsec

import (
	"encoding/binary"

	"github.com/warrenvpn/warren/dataplane"
)

var _ dataplane.Finder = (*Gateway)(nil)

// Find implements dataplane.Finder: by the SPI.
func (g *Gateway) Find(datagram []byte) (tunnel uint32, ok bool) {
	if len(datagram) < 4 {
		return 0, false
	}
	c, ok := g.inbound.Lookup(binary.BigEndian.Uint32(datagram))
	if !ok || c == nil { // reserved
		return 0, false
	}
	return c.tunnel.index, true
}
