package bench

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/dataplane/wire"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// floodRate is in datagrams a second.
const floodRate = 20_000

// flood sends datagrams in turn, at floodRate, until ctx ends, and returns how many a second it sent.
func flood(ctx context.Context, tb testing.TB, to netip.AddrPort, datagrams [][]byte) (rate float64) {
	c := newWGCaller(tb, to)
	begin, sent := time.Now(), 0
	for tick := time.NewTicker(time.Millisecond); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return float64(sent) / time.Since(begin).Seconds()
		case <-tick.C:
		}
		for due := int(time.Since(begin).Seconds() * floodRate); sent < due; sent++ {
			// An error is that of a datagram before, which found nobody.
			_, _ = unix.Write(c.fd, datagrams[sent%len(datagrams)])
		}
	}
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
				datagrams := floods(initiators)[kind]
				ctx, cancel := context.WithCancel(context.Background())
				var flooding sync.WaitGroup
				var rate float64
				flooding.Go(func() { rate = flood(ctx, b, target, datagrams) })
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
var streamed = func() []byte {
	b := make([]byte, 1400)
	b[0], b[8], b[9] = 0x45, 64, wire.ProtoUDP
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], []byte{172, 16, 0, 5, 172, 17, 0, 5})
	wire.SetIPv4Checksum(b)
	binary.BigEndian.PutUint16(b[24:], uint16(len(b)-20))
	return b
}()

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
