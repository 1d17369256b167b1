package wireguard_test

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet/packettest"
	"github.com/warrenvpn/warren/tunnel/wireguard"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// counter is an underlay that counts what is sent through it.
type counter struct {
	recorder
	calls, frames atomic.Int64
}

func (c *counter) NewSender() dataplane.Sender { return c }
func (c *counter) Send(frames []dataplane.Frame) {
	c.calls.Add(1)
	c.frames.Add(int64(len(frames)))
}

// flooded is a device that handshake messages come to, beside nothing else.
type flooded struct {
	t        *testing.T
	device   *wireguard.Device
	underlay *counter
	ctx      *dataplane.Ctx
	message  []byte // an initiation of a stranger
}

func newFlooded(t *testing.T, handshakers int) *flooded {
	t.Helper()
	f := &flooded{t: t, underlay: &counter{recorder: recorder{local: addr("192.0.2.1:51820")}}, ctx: dataplane.NewCtx()}
	key := handshake.NewPrivateKey()
	var err error
	f.device, err = wireguard.New(wireguard.Options{PrivateKey: key, Handshakers: handshakers})
	must(t, err)
	f.device.AddUnderlay(f.underlay)
	f.message = initiationTo(t, key.Public())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.device.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-ended)
	})
	return f
}

// come lets the message come n times.
func (f *flooded) come(n int, from netip.AddrPort) {
	for range n {
		f.device.Open(f.ctx, f.underlay, &dataplane.Train{Data: f.message, Size: len(f.message), Remote: from}, nil)
	}
}

// handled is how many messages were.
func (f *flooded) handled() (n uint64) {
	for _, k := range f.device.HandshakeDrops() {
		n += k
	}
	return n
}

// TestNoHandshakeMessageIsForgotten: each that had room in the queue is handled, however they come and whoever sleeps meanwhile.
func TestNoHandshakeMessageIsForgotten(t *testing.T) {
	seed := rand.Uint64()
	for handshakers := 1; handshakers <= 3; handshakers++ {
		synctest.Test(t, func(t *testing.T) {
			f, r := newFlooded(t, handshakers), rand.New(rand.NewPCG(seed, 0))
			sent := 0
			for range 200 {
				n := 1 + r.IntN(90)
				f.come(n, addr("203.0.113.66:666"))
				sent += n
				pause := time.Duration(r.IntN(int(2 * time.Millisecond)))
				if r.IntN(20) == 0 {
					pause = 3 * time.Second // the load is over
				}
				time.Sleep(500*time.Microsecond + pause)
			}
			f.come(1, addr("203.0.113.66:666"))
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			if got := f.handled(); got != uint64(sent+1) {
				t.Errorf("seed %d: %d of %d messages were handled by %d", seed, got, sent+1, handshakers)
			}
		})
	}
}

// TestWasteIsLoad: what comes to nothing puts the device under load although nothing ever waits, for as long as it comes.
func TestWasteIsLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlooded(t, 1)
		for range 5000 {
			f.come(1, addr("203.0.113.66:666"))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		strangers := f.device.HandshakeDrops()[handshake.UnknownPeer]
		if strangers != 256 || f.handled() != 5000 {
			t.Errorf("the keys of %d strangers were looked at; drops %v", strangers, f.device.HandshakeDrops())
		}
		time.Sleep(2 * time.Second)
		for range 1000 {
			f.come(1, addr("203.0.113.66:666"))
			time.Sleep(5 * time.Millisecond) // which can be worked on
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if now := f.device.HandshakeDrops()[handshake.UnknownPeer]; now != strangers+1000 {
			t.Errorf("%d of 1000 were worked on after the load", now-strangers)
		}
	})
}

// TestFloodIsRefusedInBatches: under load cookie replies leave together.
func TestFloodIsRefusedInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlooded(t, 2)
		f.come(200, addr("203.0.113.66:666"))
		time.Sleep(10 * time.Millisecond) // those who rest until a batch is together do so no more
		synctest.Wait()
		f.underlay.calls.Store(0)
		f.underlay.frames.Store(0)
		for range 10_000 {
			f.come(1, addr("203.0.113.66:666"))
			time.Sleep(50 * time.Microsecond)
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		calls, frames := f.underlay.calls.Load(), f.underlay.frames.Load()
		if frames != 10_000 || calls > frames/10 {
			t.Errorf("%d replies left in %d batches; drops %v", frames, calls, f.device.HandshakeDrops())
		}
	})
}

// TestNoHandshakeHoldsUpAPacket: packets go both ways while the handshakers and the machine are stuck in a handshake each, and the queue
// is full.
func TestNoHandshakeHoldsUpAPacket(t *testing.T) {
	var stuck, passed atomic.Int32
	var hold atomic.Bool
	var later atomic.Int64
	release := make(chan struct{})
	devices := 0
	d := newDuo(t, func(o *wireguard.Options) {
		o.Handshakers = 2
		o.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		if devices++; devices == 1 {
			return // only the second is to be stuck
		}
		o.KeyLog = func(handshake.EphemeralKeys) {
			if hold.Load() {
				stuck.Add(1)
				<-release
			}
		}
	})
	free := sync.OnceFunc(func() { hold.Store(false); close(release) })
	t.Cleanup(free)
	later.Store(int64(handshake.RekeyTimeout) + int64(time.Second)) // no handshake may follow another sooner
	var begun [][]byte
	d.a.peer.Rekey()
	waitFor(t, "an initiation", func() bool { begun = append(begun, d.a.sent.take()...); return len(begun) > 0 })
	hold.Store(true)
	for range 2 { // the two handshakers do not know of each other
		d.b.open(d.b.ctx, begun[0], d.a.sent.local)
	}
	waitFor(t, "handshakers that are stuck", func() bool { return stuck.Load() == 2 })
	for range 600 {
		d.b.open(d.b.ctx, begun[0], d.a.sent.local)
	}
	var rekeying, passing sync.WaitGroup
	rekeying.Go(d.b.peer.Rekey)
	waitFor(t, "a machine that is stuck", func() bool { return stuck.Load() == 3 })

	passing.Go(func() {
		for i := range uint32(1000) {
			for _, way := range [][2]*end{{d.a, d.b}, {d.b, d.a}} {
				way[0].seal(t, way[0].ctx, packettest.UDP("10.1.0.5", "10.2.0.5", 100, i))
				way[0].ctx.Tx.Flush()
				for _, f := range way[0].sent.transport() { // tries of handshakes would come into the queue, or be answered
					passed.Add(int32(way[1].open(way[1].ctx, f, way[0].sent.local)))
				}
			}
		}
	})
	waitFor(t, "packets", func() bool { return passed.Load() == 2000 })
	free()
	passing.Wait()
	rekeying.Wait()
	waitFor(t, "the queue to be empty", func() bool {
		n := uint64(0)
		for _, k := range d.b.device.HandshakeDrops() {
			n += k
		}
		return n == 1+2+512 // with the one that the first session began with
	})
}
