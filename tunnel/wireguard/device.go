package wireguard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/esp"
	"github.com/warrenvpn/warren/tunnel/outer"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// Options for a device.
type Options struct {
	PrivateKey handshake.PrivateKey
	// Logger for what operators should know; nil discards.
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Peers is told where peers are; nil for none.
	Peers *dataplane.Peers
	// KeyLog is told the keys of every handshake, from any goroutine; nil for nobody.
	KeyLog func(handshake.EphemeralKeys)
	// Taps see the messages that workers do not send, or receive before it is known whose they are; nil for none. A Plane is one.
	Taps Taps
	// Handshakers is how many handshake messages are worked on at the same time; 0 is one for each processor.
	Handshakers int
}

// Taps copy a peer's messages for captures. They must not wait, and keep nothing that they are shown.
type Taps interface {
	// Sending is shown frames of one underlay before they leave.
	Sending(frames []dataplane.Frame)
	// Arrived is shown a handshake message of the tunnel's peer.
	Arrived(tunnel uint32, u dataplane.Underlay, t dataplane.Train)
}

// Device is WireGuard with one private key: its peers, and the inbound half of their tunnels. It is the data plane's Opener
// for its underlays. Run does what is to be done beside the workers.
type Device struct {
	log   *slog.Logger
	now   func() time.Time
	peers *dataplane.Peers
	taps  Taps

	// What workers use.
	indices esp.Table[*keypair] // by the receiver index of the messages that come in
	inbox   inbox
	notes   notes
	kept    atomic.Int32 // packets that wait, of all peers
	served  atomic.Pointer[[]dataplane.Underlay]
	// scratch is indexed by worker; each makes its own when it first needs it.
	scratch [dataplane.MaxWorkers]*scratch

	drops       [handshake.Drops]atomic.Uint64
	handshakers int
	running     atomic.Bool
	poke        chan struct{} // has room for one

	// senders finds peers by the index that they chose for a session.
	senders outer.Senders[*Peer]
	lowered lowered

	mu        sync.Mutex
	hs        *handshake.Device
	scratchMu *scratch // for what is sealed under mu
	underlays []outlet
	all       map[*Peer]struct{}
	armed     time.Time // when control wakes up next; zero is when it is poked
	events    []event   // to be told by control, in order
	unsent    []dataplane.Frame
	// via is the underlay of the handshake message in hand, if any; unsent is empty while mu is free.
	via    dataplane.Underlay
	inHand *message
}

// outlet is an underlay and control's own way out through it.
type outlet struct {
	underlay dataplane.Underlay
	sender   dataplane.Sender
}

// New returns a device without peers and underlays. It starts nothing.
func New(o Options) (*Device, error) {
	d := &Device{log: o.Logger, now: o.Now, peers: o.Peers, taps: o.Taps, inbox: inbox{ready: make(chan struct{}, 1)}, handshakers: o.Handshakers,
		poke: make(chan struct{}, 1), scratchMu: newScratch(), all: map[*Peer]struct{}{}}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.now == nil {
		d.now = time.Now
	}
	if d.peers == nil {
		d.peers = new(dataplane.Peers)
	}
	if d.handshakers <= 0 {
		d.handshakers = runtime.GOMAXPROCS(0)
	}
	if o.KeyLog != nil {
		d.log.Warn("the keys of every handshake are logged: who reads them reads all traffic, and has the private key")
	}
	var err error
	d.hs, err = handshake.New(handshake.Config{PrivateKey: o.PrivateKey, Indices: indices{d}, Wall: d.now, KeyLog: o.KeyLog})
	if err != nil {
		return nil, fmt.Errorf("make WireGuard device: %w", err)
	}
	return d, nil
}

// PublicKey returns the device's public key.
func (d *Device) PublicKey() handshake.PublicKey {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hs.PublicKey()
}

// SetPrivateKey gives the device another key. All sessions end; packets wait for new ones. It fails, and changes nothing, if a
// peer has the new public key: remove that first.
func (d *Device) SetPrivateKey(k handshake.PrivateKey) error {
	defer d.lock()()
	if err := d.hs.SetPrivateKey(k); err != nil {
		return err
	}
	d.obey()
	now := d.now()
	for p := range d.all {
		if p.waiting.any() {
			p.hs.NeedSession(now)
			d.obey()
		}
	}
	return nil
}

// AddUnderlay lets peers be reached through an underlay. Peers whose endpoint no underlay could reach use it from now on, if it is
// of that family. The data plane receives its datagrams: add it there too, with the device as its Opener.
func (d *Device) AddUnderlay(u dataplane.Underlay) {
	defer d.lock()()
	d.underlays = append(d.underlays, outlet{u, u.NewSender()})
	d.serve()
	for p := range d.all {
		p.settle()
	}
}

// RemoveUnderlay takes an underlay away. Peers that were reached through it go through another of the same family, or keep their
// endpoint until there is one: that is how a device changes its port. Packets that still come in by it are opened until it is
// closed, and move no peer back.
func (d *Device) RemoveUnderlay(u dataplane.Underlay) {
	defer d.lock()()
	d.underlays = slices.DeleteFunc(d.underlays, func(o outlet) bool { return o.underlay == u })
	d.serve()
	for p := range d.all {
		p.leave(u)
	}
}

// serve tells workers which underlays there are. The caller holds mu.
func (d *Device) serve() {
	us := make([]dataplane.Underlay, len(d.underlays))
	for i := range us {
		us[i] = d.underlays[i].underlay
	}
	d.served.Store(&us)
}

// serves says whether an underlay is one of the device's.
func (d *Device) serves(u dataplane.Underlay) bool {
	us := d.served.Load()
	return us != nil && slices.Contains(*us, u)
}

// pathTo returns the path to an endpoint through the first underlay of its family; nil where there is none. The caller
// holds mu.
func (d *Device) pathTo(endpoint netip.AddrPort) *dataplane.Path {
	for _, o := range d.underlays {
		if o.underlay.Encap().IPv6 == endpoint.Addr().Is6() {
			return &dataplane.Path{Underlay: o.underlay, Remote: endpoint}
		}
	}
	return nil
}

// Peer returns the peer of that public key, or nil.
func (d *Device) Peer(k handshake.PublicKey) *Peer {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.hs.Peer(k); p != nil {
		return p.Owner().(*Peer)
	}
	return nil
}

// lock makes the caller the owner of the handshake machine, until it calls what lock returns.
func (d *Device) lock() (unlock func()) {
	d.mu.Lock()
	return d.unlock
}

// unlock wakes control where something is due earlier than it expects.
func (d *Device) unlock() {
	due := d.hs.Deadline()
	wake := len(d.events) > 0 || !due.IsZero() && (d.armed.IsZero() || due.Before(d.armed))
	d.mu.Unlock()
	if wake {
		d.wake()
	}
}

func (d *Device) wake() {
	select {
	case d.poke <- struct{}{}:
	default:
	}
}

// worker returns the worker's scratch.
func (d *Device) worker(i int) *scratch {
	if s := d.scratch[i]; s != nil {
		return s
	}
	s := newScratch()
	d.scratch[i] = s
	return s
}

// indices is the machine's view of the index table.
type indices struct{ d *Device }

// Allocate implements handshake.Indices.
func (x indices) Allocate(*handshake.Peer) uint32 {
	for {
		if i, err := x.d.indices.Allocate(1, 0); err == nil {
			return i
		}
	}
}

// Release implements handshake.Indices.
func (x indices) Release(i uint32) { x.d.indices.Delete(i) }

// errRunning says that a device runs once.
var errRunning = errors.New("run WireGuard device: it has been run before")

// Run does handshakes, timers and events until ctx ends, and returns when every goroutine that it started is gone. A device
// runs once.
func (d *Device) Run(ctx context.Context) error {
	if !d.running.CompareAndSwap(false, true) {
		return errRunning
	}
	var wg sync.WaitGroup
	for range d.handshakers {
		wg.Go(func() { d.shakeHands(ctx) })
	}
	d.control(ctx)
	wg.Wait()
	return nil
}
