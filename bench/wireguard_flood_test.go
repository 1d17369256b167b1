package bench

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane/packet/packettest"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// floodRate is in datagrams a second.
const floodRate = 20_000

// flooder sends datagrams in turn, at floodRate.
type flooder struct {
	wgCaller
	datagrams [][]byte
	sent      int
}

// send sends n datagrams more.
func (f *flooder) send(n int) { f.until(context.Background(), f.sent+n) }

// until sends until ctx ends, or the last datagram was sent.
func (f *flooder) until(ctx context.Context, last int) {
	begin, before := time.Now(), f.sent
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for f.sent < last {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for due := min(last, before+int(time.Since(begin).Seconds()*floodRate)); f.sent < due; f.sent++ {
			// An error is that of a datagram before, which found nobody.
			_, _ = unix.Write(f.fd, f.datagrams[f.sent%len(f.datagrams)])
		}
	}
}

// flood sends until ctx ends, and returns how many datagrams a second it sent.
func (f *flooder) flood(ctx context.Context) (rate float64) {
	begin := time.Now()
	f.until(ctx, math.MaxInt)
	return float64(f.sent) / time.Since(begin).Seconds()
}

// discard is a socket that nobody reads.
func discard(tb testing.TB) netip.AddrPort {
	tb.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(tb, err)
	must(tb, c.SetReadBuffer(1<<12))
	tb.Cleanup(func() { c.Close() })
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// floods are by kind what comes to a responder with that key and those initiators.
func floods(initiators *wgInitiators) map[string][][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	garbage := make([][]byte, 256)
	for i := range garbage {
		garbage[i] = make([]byte, 20+r.IntN(1400))
		for j := range garbage[i] {
			garbage[i][j] = byte(r.Uint32())
		}
		if i%2 == 0 { // transport data of nobody
			binary.LittleEndian.PutUint32(garbage[i], uint32(handshake.TypeTransport))
		}
	}
	bad := initiators.next(256)
	for _, b := range bad {
		b[len(b)-20]++ // in mac1
	}
	return map[string][][]byte{"garbage": garbage, "bad mac": bad, "no cookie": initiators.next(256)}
}

// BenchmarkWireGuardFlood is how long an established session takes for a packet of 1400 octets, both ends in this process, while
// floodRate datagrams a second come to the receiver's port, and while as many go to a socket that discards them.
func BenchmarkWireGuardFlood(b *testing.B) {
	for _, kind := range []string{"garbage", "bad mac", "no cookie"} {
		for _, where := range []string{"discarded", "received"} {
			b.Run(kind+"/"+where, func(b *testing.B) {
				from, to := newWGPair(b)
				initiators := newWGInitiators(b, 256, to.device.PublicKey())
				to.add(b, initiators.peers()...)
				target := to.at
				if where == "discarded" {
					target = discard(b)
				}
				f := flooder{wgCaller: newWGCaller(b, target), datagrams: floods(initiators)[kind]}
				ctx, cancel := context.WithCancel(context.Background())
				var flooding sync.WaitGroup
				var rate float64
				flooding.Go(func() { rate = f.flood(ctx) })
				stream(b, from, to, 1000)
				b.SetBytes(int64(len(streamed)))
				b.ResetTimer()
				before := processorTime(b, unix.RUSAGE_SELF)
				stream(b, from, to, b.N)
				b.StopTimer()
				b.ReportMetric(float64(processorTime(b, unix.RUSAGE_SELF)-before)/float64(b.N), "cpu-ns/op")
				cancel()
				flooding.Wait()
				b.ReportMetric(rate, "flood/s")
			})
		}
	}
}

// BenchmarkWireGuardFlooded is how much of the processors a datagram of a flood takes, where nothing else is to be done: to send it, to
// have it received, and what the receiver makes of it.
func BenchmarkWireGuardFlooded(b *testing.B) {
	for _, kind := range []string{"garbage", "bad mac", "no cookie"} {
		for _, where := range []string{"discarded", "received"} {
			b.Run(kind+"/"+where, func(b *testing.B) {
				key := handshake.NewPrivateKey()
				h := newWGHost(b, key, netip.MustParsePrefix("172.17.0.0/16"), 64)
				initiators := newWGInitiators(b, 256, key.Public())
				h.add(b, initiators.peers()...)
				target := h.at
				if where == "discarded" {
					target = discard(b)
				}
				f := flooder{wgCaller: newWGCaller(b, target), datagrams: floods(initiators)[kind]}
				f.send(floodRate / 10) // until the receiver knows that it is under load
				b.ResetTimer()
				before := processorTime(b, unix.RUSAGE_SELF)
				f.send(b.N)
				b.ReportMetric(float64(processorTime(b, unix.RUSAGE_SELF)-before)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// newWGPair makes two hosts with a session.
func newWGPair(b *testing.B) (from, to *wgHost) {
	b.Helper()
	keys := [2]handshake.PrivateKey{handshake.NewPrivateKey(), handshake.NewPrivateKey()}
	networks := [2]netip.Prefix{netip.MustParsePrefix("172.16.0.0/16"), netip.MustParsePrefix("172.17.0.0/16")}
	from, to = newWGHost(b, keys[0], networks[0], 1024), newWGHost(b, keys[1], networks[1], 1024)
	from.add(b, wgPeer{key: keys[1].Public(), endpoint: to.at, prefix: networks[1]})
	to.add(b, wgPeer{key: keys[0].Public(), prefix: networks[0]})
	stream(b, from, to, 1)
	return from, to
}

// streamed is the packet that a stream is made of.
var streamed = packettest.UDP("172.16.0.5", "172.17.0.5", 1400, 0)

// stream sends packets until n have arrived. So many are under way at most that no queue overflows; what is lost all the same is
// sent again.
func stream(b *testing.B, from, to *wgHost, n int) {
	b.Helper()
	const atOnce = 128
	batch := make([][]byte, atOnce/2)
	for i := range batch {
		batch[i] = streamed
	}
	left := time.Now().Add(time.Minute)
	for sent, arrived := 0, 0; arrived < n; {
		if room := min(atOnce-(sent-arrived), n-sent, len(batch)); room > 0 {
			must(b, from.port.Inject(batch[:room]...))
			sent += room
		}
		k := to.port.Drain()
		if k == 0 {
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			if _, err := to.port.Next(ctx); err == nil {
				k = 1
			}
			cancel()
		}
		if arrived += k; k == 0 {
			sent = arrived // the others are lost
			if time.Now().After(left) {
				b.Fatalf("%d of %d packets arrived", arrived, n)
			}
		}
	}
}
