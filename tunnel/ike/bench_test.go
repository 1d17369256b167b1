package ike

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/internal/race"
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
	if race.Enabled {
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

// BenchmarkResponder is what a core answers as responder, a thousand peers being configured: the initiator's share is not
// counted. Compare its handshakes/s with charon's.
func BenchmarkResponder(b *testing.B) {
	const peers = 1000
	for _, ike := range []string{"aes256gcm16-prfsha256-curve25519", "aes256gcm16-prfsha384-ecp384", "aes256-sha256-modp2048",
		"aes256gcm16-prfsha384-curve25519-ke1_mlkem768"} {
		b.Run(ike, func(b *testing.B) {
			p := crowd(b, ike, peers)
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var spent time.Duration
			n := 0
			for b.Loop() {
				name := fmt.Sprint("client", n%peers)
				actions, err := p.moon.Initiate(p.now, name, "")
				p.now = p.now.Add(time.Millisecond)
				for err == nil && len(actions) > 0 {
					answers := sends(actions)
					p.moon.do(unsent(actions))
					actions = nil
					for _, s := range answers {
						begun := cpuTime(b)
						reply := p.sun.Receive(p.now, p.sun.addr, p.moon.addr, s.NATT, s.Datagram)
						spent += cpuTime(b) - begun
						p.sun.do(unsent(reply))
						for _, r := range sends(reply) {
							actions = append(actions, p.moon.Receive(p.now, p.moon.addr, p.sun.addr, r.NATT, r.Datagram)...)
						}
					}
				}
				if n++; err != nil || len(p.sun.sas) == 0 {
					b.Fatal("it is not up: ", err)
				}
				if n%peers == 0 {
					b.StopTimer()
					p.empty(peers)
					b.StartTimer()
				}
			}
			b.ReportMetric(float64(n)/spent.Seconds(), "handshakes/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// cpuTime is what this thread has had of a core: others may use the machine too.
func cpuTime(b *testing.B) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// empty ends all IKE SAs.
func (p *pair) empty(peers int) {
	for i := range peers {
		p.moon.must(p.moon.Terminate(p.now, fmt.Sprint("client", i), ""))
	}
	p.run(20 * time.Second)
	for _, nd := range p.nodes {
		nd.all, nd.logs = nil, nil
		nd.keys = map[string]bool{}
	}
}

func sends(actions []Action) (all []Send) {
	for _, a := range actions {
		if s, ok := a.(Send); ok {
			all = append(all, s)
		}
	}
	return all
}

func unsent(actions []Action) []Action {
	return slices.DeleteFunc(slices.Clone(actions), func(a Action) bool { _, is := a.(Send); return is })
}

// A thousand peers come up from nothing, in the time that the machine takes for both ends.
func BenchmarkThousand(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		p := crowd(b, "aes256gcm16-prfsha256-curve25519", 1000)
		b.StartTimer()
		for i := range 1000 {
			p.moon.must(p.moon.Initiate(p.now, fmt.Sprint("client", i), ""))
		}
		p.run(5 * time.Second)
		if len(p.sun.sas) != 1000 {
			b.Fatalf("%d are up", len(p.sun.sas))
		}
	}
}
