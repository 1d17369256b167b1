package handshake

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/conn/bindtest"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
)

// A theirs is a wireguard-go device in this process, and us as its peer by a network of channels. It goes by the clock on the
// wall. Ours goes with it, but jumps to what is due next when nothing has happened for a moment.
type theirs struct {
	*host
	peer *Peer
	tun  *tuntest.ChannelTUN
	in   chan []byte
	got  [][]byte // what came out of its TUN
	jump time.Duration
	// patient says that our clock does not jump.
	patient bool
}

var (
	ourAddress   = netip.MustParseAddr("10.9.0.1")
	theirAddress = netip.MustParseAddr("10.9.0.2")
)

func meetWireguardGo(t *testing.T, psk PresharedKey) *theirs {
	t.Helper()
	binds := bindtest.NewChannelBinds()
	ours, key := NewPrivateKey(), NewPrivateKey()
	w := &theirs{tun: tuntest.NewChannelTUN(), in: make(chan []byte, 64)}
	dev := device.NewDevice(w.tun.TUN(), binds[0], device.NewLogger(device.LogLevelError, "wireguard-go: "))
	t.Cleanup(dev.Close)
	public := ours.Public()
	uapi := fmt.Sprintf("private_key=%s\nlisten_port=1\npublic_key=%s\npreshared_key=%s\nendpoint=127.0.0.1:1\nallowed_ip=%s/32\n",
		hex.EncodeToString(key[:]), hex.EncodeToString(public[:]), hex.EncodeToString(psk[:]), ourAddress)
	if err := dev.IpcSet(uapi); err != nil {
		t.Fatal(err)
	}
	if err := dev.Up(); err != nil {
		t.Fatal(err)
	}
	receivers, _, err := binds[1].Open(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = binds[1].Close() })
	for _, receive := range receivers {
		go w.pump(receive)
	}
	w.host = newHost(t, "ours", ours, rand.New(rand.NewPCG(1, 2)), w.clock, w.clock, newLedger(t))
	w.out = func(_ netip.AddrPort, b []byte) {
		if err := binds[1].Send([][]byte{b}, bindtest.ChannelEndpoint(2)); err != nil {
			t.Error(err)
		}
	}
	w.peer = w.add(PeerConfig{PublicKey: key.Public(), PresharedKey: psk}, address(1))
	return w
}

func (w *theirs) clock() time.Time { return time.Now().Add(w.jump) }

func (w *theirs) pump(receive conn.ReceiveFunc) {
	for {
		bufs, sizes, ends := [][]byte{make([]byte, 2048)}, []int{0}, []conn.Endpoint{nil}
		n, err := receive(bufs, sizes, ends)
		if err != nil {
			return
		}
		if n == 1 {
			w.in <- bufs[0][:sizes[0]]
		}
	}
}

// until works until something is so.
func (w *theirs) until(what string, so func() bool) {
	w.t.Helper()
	quiet := 0
	for deadline := time.After(time.Minute); !so(); {
		select {
		case b := <-w.in:
			w.receive(b, address(1))
			quiet = 0
		case b := <-w.tun.Inbound:
			w.got = append(w.got, b)
			quiet = 0
		case <-time.After(10 * time.Millisecond):
			// wireguard-go has nothing to say when it was so again and again: where the machine stands still, that is once.
			if quiet++; quiet < 40 {
				continue
			}
			quiet = 0
			if due := w.d.Deadline(); !due.IsZero() && !w.patient {
				w.jump += max(0, due.Sub(w.clock()))
			}
			w.d.Tick(w.clock())
			w.obey()
		case <-deadline:
			w.t.Fatalf("waited in vain: %s; drops %v", what, w.drops)
		}
	}
}

// ask lets wireguard-go send us a packet.
func (w *theirs) ask() {
	w.t.Helper()
	ping := tuntest.Ping(ourAddress, theirAddress)
	w.tun.Outbound <- ping
	w.until("a packet of wireguard-go", func() bool {
		for _, p := range w.opened {
			if len(p.data) >= len(ping) && p.data[:len(ping)] == string(ping) {
				w.opened = nil
				return true
			}
		}
		return false
	})
}

// tell sends wireguard-go a packet.
func (w *theirs) tell() {
	w.t.Helper()
	ping := tuntest.Ping(theirAddress, ourAddress)
	w.host.send(w.peer, string(append(bytes.Clone(ping), make([]byte, -len(ping)&15)...)))
	w.until("our packet at wireguard-go", func() bool { return len(w.got) > 0 })
	if !bytes.Equal(w.got[0], ping) {
		w.t.Errorf("wireguard-go received % x", w.got[0])
	}
	w.got = nil
}

// both runs a test without and with a pre-shared key.
func both(t *testing.T, f func(*testing.T, *theirs)) {
	t.Parallel()
	for name, psk := range map[string]PresharedKey{"without": {}, "with": NewPresharedKey()} {
		t.Run(name+" a pre-shared key", func(t *testing.T) {
			t.Parallel()
			f(t, meetWireguardGo(t, psk))
		})
	}
}

func (w *theirs) wantSession(initiator bool) {
	w.t.Helper()
	if k := w.peer.Keypairs().Current; k == nil || k.Initiator != initiator {
		w.t.Fatalf("our session is %+v", k)
	}
	if w.drops != [Drops]int{None: w.drops[None]} {
		w.t.Errorf("drops %v", w.drops)
	}
}

func TestInitiatorToWireguardGo(t *testing.T) {
	both(t, func(t *testing.T, w *theirs) {
		w.tell()
		w.ask()
		w.wantSession(true)
	})
}

func TestResponderToWireguardGo(t *testing.T) {
	both(t, func(t *testing.T, w *theirs) {
		w.ask()
		w.tell()
		w.wantSession(false)
	})
}

// TestCookieForWireguardGo: it is told to prove its address, and does so by its next try, five seconds later.
func TestCookieForWireguardGo(t *testing.T) {
	t.Parallel()
	w := meetWireguardGo(t, NewPresharedKey())
	w.load, w.patient = true, true
	w.ask()
	w.tell()
	if w.drops[NeedsCookie] != 1 || w.drops[None] != 1 {
		t.Errorf("drops %v", w.drops)
	}
}

// TestRestartBesideWireguardGo: we forget all but our key, and begin again.
func TestRestartBesideWireguardGo(t *testing.T) {
	t.Parallel()
	w := meetWireguardGo(t, PresharedKey{})
	w.tell()
	again := newHost(t, "ours again", w.key, w.indices.rnd, w.clock, w.clock, w.keys)
	again.out = w.out
	p := again.add(PeerConfig{PublicKey: w.peer.PublicKey()}, address(1))
	w.host, w.peer = again, p
	w.tell()
	w.ask()
	w.wantSession(true)
}

// TestRekeyWithWireguardGo makes session after session by turns, with packets under each.
func TestRekeyWithWireguardGo(t *testing.T) {
	t.Parallel()
	w := meetWireguardGo(t, NewPresharedKey())
	w.tell()
	first := w.peer.Keypairs().Current
	w.peer.Counter(w.clock(), first, RekeyAfterMessages) // it is due when RekeyTimeout has passed
	w.until("another session", func() bool {
		k := w.peer.Keypairs()
		return k.Current != first && k.Previous == first
	})
	w.tell()
	w.ask()
	w.wantSession(true)
	w.checkIndices()
}
