package bench

import (
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// BenchmarkWireGuardHandshakes is how long a responder takes for a session, with all processors at work: from an initiation on the
// loopback interface to the response, with everything that is between. Each peer has had a session before, and the initiations
// were made before. responder-ns is the processor's time without that of the initiator, which is in the same process.
func BenchmarkWireGuardHandshakes(b *testing.B) {
	const peers = 512
	run := func(b *testing.B, key handshake.PrivateKey, at netip.AddrPort, add func(...wgPeer)) {
		initiators := newWGInitiators(b, peers, key.Public())
		add(initiators.peers()...)
		c := newWGCaller(b, at)
		c.call(b, initiators.next(peers))
		messages := initiators.next(b.N)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		runtime.GC()
		b.ResetTimer()
		all, own := processorTime(b, unix.RUSAGE_SELF), processorTime(b, unix.RUSAGE_THREAD)
		c.call(b, messages)
		all, own = processorTime(b, unix.RUSAGE_SELF)-all, processorTime(b, unix.RUSAGE_THREAD)-own
		b.ReportMetric(float64(all-own)/float64(b.N), "responder-ns")
	}
	b.Run("wireguard-go", func(b *testing.B) {
		key := handshake.NewPrivateKey()
		dev, at := newWireguardGo(b, key)
		run(b, key, at, func(peers ...wgPeer) { addToWireguardGo(b, dev, peers...) })
		b.StopTimer()
	})
	b.Run("warren", func(b *testing.B) {
		key := handshake.NewPrivateKey()
		h := newWGHost(b, key, netip.MustParsePrefix("10.255.0.0/16"), 64)
		run(b, key, h.at, func(peers ...wgPeer) { h.add(b, peers...) })
		b.StopTimer()
	})
}
