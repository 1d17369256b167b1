package ipsec_test

import (
	"github.com/warrenvpn/warren/dataplane/port/pipe"
	"github.com/warrenvpn/warren/dataplane/wire"
)

func pipePacket(b []byte, o wire.Offload) pipe.Packet { return pipe.Packet{Data: b, Offload: o} }
