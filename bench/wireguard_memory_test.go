package bench

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// inUse is the heap's live octets and the stacks', in MB.
func inUse() float64 {
	var m runtime.MemStats
	for range 3 { // finalizers and pools take a cycle more
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc+m.StackInuse) / 1e6
}

// BenchmarkWireGuardMemory is what a program needs for its peers, all of them idle: with buffers, sockets and route table for
// warren as for wireguard-go. "new" peers have never had a session, the others had one each and are silent since. The shares are of
// what wireguard-go needs in the same run.
func BenchmarkWireGuardMemory(b *testing.B) {
	for _, c := range []struct {
		peers   int
		session bool
	}{{1, false}, {1, true}, {10_000, false}, {10_000, true}} {
		name := fmt.Sprintf("%d/new", c.peers)
		if c.session {
			name = fmt.Sprintf("%d/session", c.peers)
		}
		b.Run(name, func(b *testing.B) {
			var theirs, ours float64
			for range b.N {
				key := handshake.NewPrivateKey()
				initiators := newWGInitiators(b, c.peers, key.Public())
				peers := initiators.peers()
				var messages [][]byte
				if c.session {
					messages = initiators.next(c.peers)
				}
				initiators = nil
				theirs += memoryOfWireguardGo(b, key, peers, messages)
				ours += memoryOfWarren(b, key, peers, messages)
				runtime.KeepAlive(messages)
				runtime.KeepAlive(peers)
			}
			b.ReportMetric(theirs/float64(b.N), "wireguard-go-MB")
			b.ReportMetric(ours/float64(b.N), "warren-MB")
			b.ReportMetric(ours/theirs, "share")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func memoryOfWireguardGo(b *testing.B, key handshake.PrivateKey, peers []wgPeer, messages [][]byte) float64 {
	before := inUse()
	dev, at := newWireguardGo(b, key)
	addToWireguardGo(b, dev, peers...)
	newWGCaller(b, at).call(b, messages)
	used := inUse() - before
	dev.Close()
	return used
}

func memoryOfWarren(b *testing.B, key handshake.PrivateKey, peers []wgPeer, messages [][]byte) float64 {
	before := inUse()
	h := newWGHost(b, key, netip.MustParsePrefix("10.255.0.0/16"), 128)
	h.add(b, peers...)
	newWGCaller(b, h.at).call(b, messages)
	used := inUse() - before
	h.close()
	return used
}
