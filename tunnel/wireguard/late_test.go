package wireguard_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/packet/packettest"
	"github.com/warrenvpn/warren/internal/race"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// TestLateWorker: a worker that sealed and was not scheduled before it sent loses nothing, however far another worker ran ahead
// meanwhile; and no counter is used twice.
func TestLateWorker(t *testing.T) {
	d := newDuo(t)
	late, ahead := dataplane.NewCtx(), dataplane.NewCtx()
	late.Worker, ahead.Worker = 0, 1
	want := map[uint32]bool{}
	number := uint32(0)
	seal := func(ctx *dataplane.Ctx, n int) {
		for range n {
			number++
			want[number] = true
			d.a.seal(t, ctx, packettest.UDP("10.1.0.5", "10.2.0.5", 100, number))
		}
	}
	var frames [][]byte
	for n := 1; n <= 250; n += 83 {
		seal(late, n)
		for range 90 {
			seal(ahead, 100)
			ahead.Tx.Flush()
		}
		late.Tx.Flush()
		frames = append(frames, d.a.sent.transport()...)
	}
	counters := map[uint64]bool{}
	for i, f := range frames {
		_, c, _ := handshake.ParseTransport(f)
		if counters[c] {
			t.Fatalf("counter %d twice", c)
		}
		counters[c] = true
		if d.b.open(d.b.ctx, f, d.a.sent.local) != 1 {
			t.Fatalf("message %d of %d, counter %d, was refused", i, len(frames), c)
		}
		delete(want, packettest.Number(d.b.out.Packets()[0].Bytes()))
	}
	if len(want) > 0 {
		t.Errorf("%d packets did not arrive", len(want))
	}
}

// TestWindowIsExact: the window takes what is up to 8128 behind the newest, once, and nothing that is further behind, as an obvious
// model says.
func TestWindowIsExact(t *testing.T) {
	d := newDuo(t)
	const n = 20000
	messages := d.sealed(t, n)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	_, base, _ := handshake.ParseTransport(messages[0])
	seen, top := map[int]bool{}, 0
	at := 0
	for range 30000 {
		switch r.IntN(10) {
		case 0:
			at = min(n-1, top+r.IntN(400))
		case 1, 2:
			at = top - 8128 + r.IntN(3) - 1 // around the edge
		default:
			at = top - r.IntN(10000)
		}
		if at < 0 {
			continue
		}
		fresh := !seen[at] && (at > top || top-at <= 8128)
		if got := d.b.open(d.b.ctx, bytes.Clone(messages[at]), d.a.sent.local) == 1; got != fresh {
			t.Fatalf("counter %d with %d on top, seen %v: accepted %v", base+uint64(at), base+uint64(top), seen[at], got)
		}
		if fresh {
			seen[at], top = true, max(top, at)
		}
	}
}

// TestConcurrentReceivers: of messages that several workers receive at the same time, each several times and in any order, each is
// accepted exactly once.
func TestConcurrentReceivers(t *testing.T) {
	d := newDuo(t)
	const workers, n = 4, 8000
	messages := d.sealed(t, n)
	var accepted [n + 1]atomic.Int32
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			ctx := dataplane.NewCtx()
			ctx.Worker = w
			r := rand.New(rand.NewPCG(uint64(w), 1))
			var out packet.Batch
			for _, i := range r.Perm(n) {
				out.Reset()
				if d.b.openInto(ctx, bytes.Clone(messages[i]), d.a.sent.local, &out) == 1 {
					accepted[packettest.Number(out.Packets()[0].Bytes())].Add(1)
				}
			}
		})
	}
	wg.Wait()
	for i := 1; i <= n; i++ {
		if got := accepted[i].Load(); got != 1 {
			t.Fatalf("packet %d was accepted %d times", i, got)
		}
	}
}

// TestConcurrentSenders never use a counter twice.
func TestConcurrentSenders(t *testing.T) {
	d := newDuo(t)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			ctx := dataplane.NewCtx()
			ctx.Worker = w
			for range 500 {
				d.a.seal(t, ctx, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 1), packettest.UDP("10.1.0.5", "10.2.0.5", 100, 2))
				ctx.Tx.Flush()
			}
		})
	}
	wg.Wait()
	seen := map[uint64]bool{}
	for _, f := range d.a.sent.transport() {
		c := binary.LittleEndian.Uint64(f[8:])
		if seen[c] {
			t.Fatalf("counter %d twice", c)
		}
		seen[c] = true
	}
}

// TestGarbage: none of a million random and mutated datagrams is accepted, and none does harm.
func TestGarbage(t *testing.T) {
	n := 1_000_000
	if testing.Short() || race.Enabled {
		n = 50_000
	}
	d := newDuo(t)
	good := d.sealed(t, 1)[0]
	r := rand.New(rand.NewPCG(1, 2))
	for range n {
		b := bytes.Clone(good)
		switch r.IntN(4) {
		case 0:
			b = b[:r.IntN(len(b))]
		case 1:
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		case 2:
			for i := 16 * r.IntN(2); i < len(b); i++ {
				b[i] = byte(r.Uint32())
			}
		default:
			sizes := []int{handshake.InitiationSize, handshake.ResponseSize, handshake.CookieReplySize, 32, 16, 5}
			b = make([]byte, sizes[r.IntN(len(sizes))])
			for i := 4; i < len(b); i++ {
				b[i] = byte(r.Uint32())
			}
			b[0] = byte(r.IntN(6))
		}
		if bytes.Equal(b, good) {
			continue
		}
		if d.b.open(d.b.ctx, b, d.a.sent.local) > 0 {
			t.Fatalf("accepted %x", b)
		}
	}
	if d.b.open(d.b.ctx, good, d.a.sent.local) != 1 {
		t.Error("the one that is right was refused")
	}
}
