package ike

import (
	"net/netip"
	"testing"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// A Meeting is a handshake of two machines, moon being the initiator.
type Meeting struct {
	Up        bool
	Moon, Sun []Log
	Fragments int
	Seen      message.ID // moon, as sun sees it
}

// Meet lets two machines with these credentials meet; sun takes anybody, from any address.
func Meet(t testing.TB, moon, sun Credentials) Meeting {
	p := newPair(t, 90)
	p.moonCfg.Credentials, p.sunCfg.Credentials = moon, sun
	p.moonCfg.KeyingTries = 1
	p.sunCfg.Remote = netip.Addr{}
	var m Meeting
	p.filter = func(k *packet) bool {
		if parsed, err := message.Parse(k.data); err == nil && message.Find[*message.SKF](parsed.Payloads) != nil {
			m.Fragments++
		}
		return true
	}
	p.add()
	p.moon.must(p.moon.Initiate(p.now, "sun", ""))
	p.run(time.Minute)
	if err := p.check(); err != nil {
		t.Error(err)
	}
	m.Up = len(p.moon.sas) == 1
	m.Moon, m.Sun = p.moon.logs, p.sun.logs
	if up := find[IKEUp](p.sun); len(up) > 0 {
		m.Seen = up[0].RemoteID
	}
	return m
}
