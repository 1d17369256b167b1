package wireguard_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet/packettest"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
	"github.com/warrenvpn/warren/tunnel/wireguard"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
)

// simBind lets wireguard-go send through a simulated network.
type simBind struct {
	net *sim.Network
	at  netip.AddrPort
	mu  sync.Mutex
	u   dataplane.Underlay
}

type simEndpoint netip.AddrPort

func (e simEndpoint) ClearSrc()           {}
func (e simEndpoint) SrcToString() string { return "" }
func (e simEndpoint) SrcIP() netip.Addr   { return netip.Addr{} }
func (e simEndpoint) DstIP() netip.Addr   { return netip.AddrPort(e).Addr() }
func (e simEndpoint) DstToString() string { return netip.AddrPort(e).String() }
func (e simEndpoint) DstToBytes() []byte {
	a := netip.AddrPort(e)
	return append(a.Addr().AsSlice(), byte(a.Port()), byte(a.Port()>>8)) // as its own sockets do it, little-endian
}

func (b *simBind) Open(uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	u, err := b.net.Underlay(b.at, 1)
	if err != nil {
		return nil, 0, err
	}
	b.u = u
	var rx dataplane.Rx
	receive := func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		if err := u.Receivers()[0].Recv(&rx); err != nil {
			return 0, net.ErrClosed
		}
		for i, tr := range rx.Trains {
			sizes[i], eps[i] = copy(bufs[i], tr.Data), simEndpoint(tr.Remote)
		}
		return len(rx.Trains), nil
	}
	return []conn.ReceiveFunc{receive}, b.at.Port(), nil
}

func (b *simBind) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.u == nil {
		return nil
	}
	defer func() { b.u = nil }()
	return b.u.Close()
}

func (b *simBind) Send(bufs [][]byte, ep conn.Endpoint) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.u == nil {
		return net.ErrClosed
	}
	path := &dataplane.Path{Underlay: b.u, Remote: netip.AddrPort(ep.(simEndpoint))}
	for _, d := range bufs {
		b.u.NewSender().Send([]dataplane.Frame{{Data: d, Path: path}})
	}
	return nil
}

func (b *simBind) SetMark(uint32) error { return nil }
func (b *simBind) BatchSize() int       { return 64 } // as many as the network gives at once
func (b *simBind) ParseEndpoint(s string) (conn.Endpoint, error) {
	a, err := netip.ParseAddrPort(s)
	return simEndpoint(a), err
}

// theirs is a wireguard-go device with 10.2.0.0/16 behind it, and ours that knows it as its peer, with 10.1.0.0/16.
type theirs struct {
	*host
	t    *testing.T
	net  *sim.Network
	keys [2]handshake.PrivateKey // ours, theirs
	psk  handshake.PresharedKey
	dev  *device.Device
	tun  *tuntest.ChannelTUN
	in   chan []byte // what came out of its TUN
	real bool        // not in a bubble
}

func meetWireguardGo(t *testing.T, psk handshake.PresharedKey, passive bool, cfg sim.Config) *theirs {
	t.Helper()
	w := &theirs{t: t, net: sim.New(cfg), keys: [2]handshake.PrivateKey{handshake.NewPrivateKey(), handshake.NewPrivateKey()}, psk: psk}
	w.startOurs(passive)
	w.startTheirs()
	return w
}

func (w *theirs) startOurs(passive bool) {
	s := setup{cfg: wireguard.PeerConfig{PresharedKey: w.psk, AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/16")}}, passive: [2]bool{passive, false}}
	s.defaults()
	w.host = newHost(w.t, w.net, s, 0, w.keys)
	w.host.run(w.t)
}

// pinned are wireguard-go's peers. Their queues have finalizers, which must not run: they would receive from a bubble's channels
// outside of it.
var pinned struct {
	sync.Mutex
	peers []*device.Peer
}

func (w *theirs) startTheirs() {
	w.t.Helper()
	w.tun, w.in = tuntest.NewChannelTUN(), make(chan []byte, 4096)
	w.dev = device.NewDevice(w.tun.TUN(), &simBind{net: w.net, at: addr("192.0.2.2:51820")}, device.NewLogger(device.LogLevelError, "wireguard-go: "))
	dev, tun, in := w.dev, w.tun, w.in
	gone := make(chan struct{})
	go func() {
		for {
			select {
			case b := <-tun.Inbound:
				in <- b
			case <-gone:
				return
			}
		}
	}()
	w.t.Cleanup(func() { dev.Close(); close(gone) })
	public := w.keys[0].Public()
	must(w.t, dev.IpcSet(fmt.Sprintf("private_key=%s\nlisten_port=51820\npublic_key=%s\npreshared_key=%s\nendpoint=192.0.2.1:51820\nallowed_ip=10.1.0.0/16\n",
		hex.EncodeToString(w.keys[1][:]), hex.EncodeToString(public[:]), hex.EncodeToString(w.psk[:]))))
	must(w.t, dev.Up())
	pinned.Lock()
	pinned.peers = append(pinned.peers, dev.LookupPeer(device.NoisePublicKey(public)))
	pinned.Unlock()
	if !w.real {
		synctest.Wait()
	}
}

// tell sends them a packet, ask lets them send us one.
func (w *theirs) tell(number uint32) {
	w.t.Helper()
	p := packettest.UDP("10.1.0.5", "10.2.0.5", 133, number)
	w.inject(w.t, p)
	select {
	case got := <-w.in:
		if !bytes.Equal(got, p) {
			w.t.Fatalf("wireguard-go received packet %d in place of %d", packettest.Number(got), number)
		}
	case <-time.After(20 * time.Second):
		w.t.Fatalf("packet %d did not arrive; handshakes %v; %+v", number, w.device.HandshakeDrops(), w.peer.Status())
	}
}

func (w *theirs) ask(number uint32) {
	w.t.Helper()
	p := packettest.UDP("10.2.0.5", "10.1.0.5", 133, number)
	w.tun.Outbound <- p
	if got := w.next(w.t); !bytes.Equal(got, p) {
		w.t.Fatalf("packet %d in place of %d", packettest.Number(got), number)
	}
}

// withBoth runs a test without and with a pre-shared key, as the one who begins and as the one who answers.
func withBoth(t *testing.T, f func(t *testing.T, w *theirs)) {
	for _, psk := range []handshake.PresharedKey{{}, handshake.NewPresharedKey()} {
		for _, passive := range []bool{false, true} {
			t.Run(fmt.Sprintf("psk=%v/responder=%v", !psk.IsZero(), passive), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := meetWireguardGo(t, psk, passive, sim.Config{Faults: sim.Faults{Delay: 10 * time.Millisecond}})
					if passive {
						w.ask(1)
						w.tell(2)
					} else {
						w.tell(1)
						w.ask(2)
					}
					f(t, w)
				})
			})
		}
	}
}

func TestWireguardGoMeetsUs(t *testing.T) {
	withBoth(t, func(t *testing.T, w *theirs) {
		for i := range uint32(100) {
			w.tell(i)
			w.ask(i)
		}
		drops := w.device.HandshakeDrops()
		if drops[handshake.None] != 1 || w.peer.Status().State != wireguard.Up {
			t.Errorf("%v %+v", drops, w.peer.Status())
		}
	})
}

// TestWireguardGoRekey: traffic both ways through many sessions, whoever begins them, and no packet is lost or out of order.
func TestWireguardGoRekey(t *testing.T) {
	withBoth(t, func(t *testing.T, w *theirs) {
		every, n := 50*time.Millisecond, shorter(20*1300, 20*260)
		var senders sync.WaitGroup
		defer senders.Wait()
		senders.Go(func() {
			for k := range uint32(n) {
				w.inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, k))
				time.Sleep(every)
			}
		})
		senders.Go(func() {
			for k := range uint32(n) {
				w.tun.Outbound <- packettest.UDP("10.2.0.5", "10.1.0.5", 100, k)
				time.Sleep(every)
			}
		})
		for k := range uint32(n) {
			if got := packettest.Number(w.next(t)); got != k {
				t.Fatalf("packet %d came in place of %d", got, k)
			}
			if got := packettest.Number(<-w.in); got != k {
				t.Fatalf("packet %d came to wireguard-go in place of %d", got, k)
			}
		}
		if got, want := w.device.HandshakeDrops()[handshake.None], uint64(n/20/120); got < want || got > want+2 {
			t.Errorf("%d sessions, want %d", got, want)
		}
	})
}

// TestWireguardGoRoams, and we do, in the middle of traffic: nothing is lost but what was on its way to where nobody is any more.
func TestWireguardGoRoams(t *testing.T) {
	withBoth(t, func(t *testing.T, w *theirs) {
		now := addr("198.51.100.7:61234")
		w.net.Rebind(addr("192.0.2.2:51820"), now)
		w.ask(3)
		w.tell(4)
		if got := w.peer.Status().Endpoint; got != now {
			t.Errorf("wireguard-go is at %v, want %v", got, now)
		}
		w.net.Rebind(addr("192.0.2.1:51820"), addr("203.0.113.9:1024"))
		w.tell(5)
		w.ask(6)
	})
}

func TestWireguardGoRestarts(t *testing.T) {
	withBoth(t, func(t *testing.T, w *theirs) {
		time.Sleep(time.Second)
		w.dev.Close()
		w.startTheirs()
		w.ask(3)
		w.tell(4)
		time.Sleep(6 * time.Second)
		w.host.stop()
		w.startOurs(false)
		w.tell(5)
		w.ask(6)
		// They restart, and only we have something to say.
		time.Sleep(time.Second)
		w.dev.Close()
		w.startTheirs()
		w.inject(t, packettest.UDP("10.1.0.5", "10.2.0.5", 100, 7)) // by the old session, into the void
		time.Sleep(17 * time.Second)
		w.tell(8)
	})
}

// TestWireguardGoReplayed: its initiation comes a second time, from elsewhere.
func TestWireguardGoReplayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var initiation []byte
		w := meetWireguardGo(t, handshake.PresharedKey{}, true, sim.Config{Tap: func(_, _ netip.AddrPort, _ uint8, b []byte) {
			if b[0] == 1 {
				initiation = bytes.Clone(b)
			}
		}})
		w.ask(1)
		other, err := w.net.Underlay(addr("203.0.113.66:666"), 1)
		must(t, err)
		defer other.Close()
		other.NewSender().Send([]dataplane.Frame{{Data: initiation, Path: &dataplane.Path{Underlay: other, Remote: w.underlay.Local()}}})
		waitFor(t, "the drop", func() bool { return w.device.HandshakeDrops()[handshake.Replayed] == 1 })
		if got := w.peer.Status().Endpoint; got != addr("192.0.2.2:51820") {
			t.Errorf("the peer is at %v", got)
		}
		w.tell(2)
		w.ask(3)
	})
}

// TestFloodOfInitiations: while somebody who knows our public key floods us, a stranger's messages are answered by cookies, and
// wireguard-go proves by one where it is. What is established goes on meanwhile.
func TestFloodOfInitiations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := meetWireguardGo(t, handshake.NewPresharedKey(), true, sim.Config{Faults: sim.Faults{Delay: 10 * time.Millisecond}})
		// What a device that is no peer of ours says first is what the flood is made of.
		flood := initiationTo(t, w.keys[0].Public())
		ctx, cancel := contextOf(t)
		var flooding sync.WaitGroup
		flooding.Go(func() {
			other := dataplane.NewCtx()
			train := dataplane.Train{Data: flood, Size: len(flood), Remote: addr("203.0.113.66:666")}
			for ctx.Err() == nil {
				for range shorter(2000, 300) {
					w.device.Open(other, w.underlay, &train, nil)
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
		time.Sleep(time.Second)
		begin := time.Now()
		w.ask(1)
		if d := time.Since(begin); d < 5*time.Second || d > 6*time.Second {
			t.Errorf("the session came after %v", d)
		}
		for i := range uint32(50) {
			w.tell(i)
			w.ask(i)
		}
		drops := w.device.HandshakeDrops()
		if drops[handshake.NeedsCookie] < 1000 || drops[handshake.None] != 1 {
			t.Errorf("drops %v", drops)
		}
		cancel()
		flooding.Wait()
	})
}
