package wireguard

import (
	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

var _ dataplane.Finder = (*Device)(nil)

// Find implements dataplane.Finder: by the receiver index of transport data. Whose a handshake message is becomes known later, see
// Options.Taps.
func (d *Device) Find(datagram []byte) (tunnel uint32, ok bool) {
	index, _, ok := handshake.ParseTransport(datagram)
	if !ok {
		return 0, false
	}
	kp, ok := d.indices.Lookup(index)
	if !ok || kp == nil {
		return 0, false
	}
	return kp.peer.index, true
}
