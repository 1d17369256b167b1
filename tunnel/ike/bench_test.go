package ike

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// crowd is many peers between two nodes: sun takes anybody with an identity of its list.
func crowd(t testing.TB, proposals string, n int) *pair {
	p := newPair(t, 70)
	p.moonCfg.Proposals, p.sunCfg.Proposals = ikeList(t, proposals), ikeList(t, proposals)
	secret := Secret("a shared secret")
	for i := range n {
		moon, sun := p.moonCfg, p.sunCfg
		name := fmt.Sprint("client", i)
		moon.Name, sun.Name = name, name
		moon.DPDDelay = 30 * time.Second
		moon.Credentials = &PSK{Secret: secret, Local: fqdn(name), Remote: fqdn("sun")}
		sun.Credentials = &PSK{Secret: secret, Local: fqdn("sun"), Remote: fqdn(name)}
		sun.Remote = netip.Addr{}
		p.moon.must(p.moon.AddPeer(p.now, moon))
		p.sun.must(p.sun.AddPeer(p.now, sun))
	}
	p.moon.cfg.CookieThreshold, p.sun.cfg.CookieThreshold, p.sun.cfg.MaxHalfOpen = 1<<20, 1<<20, 1<<20
	return p
}

// What an established tunnel needs in the machine, both ends of it and their configurations: at most 64 KiB.
func TestMemoryOfATunnel(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's memory is not ours")
	}
	const n = 200
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	p := crowd(t, "aes256gcm16-prfsha256-curve25519", n)
	for i := range n {
		p.moon.must(p.moon.Initiate(p.now, fmt.Sprint("client", i), ""))
	}
	p.run(5 * time.Second)
	p.agree(n)
	p.moon.all, p.sun.all, p.moon.logs, p.sun.logs = nil, nil, nil, nil
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := int64(after.HeapAlloc-before.HeapAlloc) / n
	t.Logf("%d bytes a tunnel, both ends", each)
	if each > 64<<10 {
		t.Errorf("%d bytes a tunnel, want at most 65536", each)
	}
	runtime.KeepAlive(p)
}

// BenchmarkHandshake is an IKE SA with a child from nothing, both ends.
func BenchmarkHandshake(b *testing.B) {
	for _, ike := range []string{"aes256gcm16-prfsha256-curve25519", "aes256gcm16-prfsha384-ecp384", "aes256-sha256-modp2048"} {
		b.Run("pair/"+ike, func(b *testing.B) {
			p := newPair(b, 71)
			p.moonCfg.Proposals, p.sunCfg.Proposals = ikeList(b, ike), ikeList(b, ike)
			p.add()
			for b.Loop() {
				p.moon.must(p.moon.Initiate(p.now, "sun", ""))
				p.run(time.Second)
				if len(p.moon.sas) != 1 {
					b.Fatal("it is not up")
				}
				p.moon.must(p.moon.Terminate(p.now, "sun", ""))
				p.run(15 * time.Second)
				p.moon.all, p.sun.all, p.moon.logs, p.sun.logs = nil, nil, nil, nil
			}
		})
	}
}
