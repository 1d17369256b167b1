package outer

import (
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/wire"
)

// DecapECN carries the ECN mark of an outer header over to the parsed packet that stood behind it (RFC 6040 section 4.2), or says
// why the packet must be dropped. An outer header without a mark changes nothing: callers need not ask then.
func DecapECN(p *packet.Packet, outer uint8) packet.Reason {
	tos, ok := wire.DecapECN(p.Info.TOS, outer)
	if !ok {
		return packet.ECNInvalid
	}
	if tos != p.Info.TOS {
		wire.SetTOS(p.Bytes(), tos)
		p.Info.TOS = tos
	}
	return packet.None
}
