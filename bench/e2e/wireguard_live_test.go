//go:build linux

package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/warrenvpn/warren/bench/lab"
)

// TestWireGuardGoLives: what happens to sessions with wireguard-go while they are used.
func TestWireGuardGoLives(t *testing.T) {
	atOnce(t, map[string]func(w *wg){
		"new keys": (*wg).newKeys, "their address changes": (*wg).theirAddress, "our address changes": (*wg).ourAddress, "we are killed": (*wg).weDie,
		"they are killed": (*wg).theyDie, "they are killed and wait": (*wg).theyDieAndWait, "replays": (*wg).replays,
	})
}

// TestWireGuardGoFlooded: whoever brings a cookie has a session under a flood of initiations, unless the flood stands still just then.
func TestWireGuardGoFlooded(t *testing.T) {
	eachAtOnce(t, map[string]func(w *wg){"we are flooded": (*wg).weAreFlooded, "they are flooded": (*wg).theyAreFlooded}, fairly)
}

func hexKey(t testing.TB, key string) string {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}

// mixing counts how often wireguard-go says that it could not make a session of a handshake. Its workers take an initiation and a response
// of the same peer at the same time, and if the response is written into the handshake between the answer to the initiation and
// the session that belongs to that, the session has the keys of one and the index of the other: it hears nothing by it until the next
// handshake. The second of the two workers then finds no handshake, and says this.
type mixing struct{ atomic.Int32 }

func (m *mixing) logger() *device.Logger {
	return &device.Logger{Verbosef: device.DiscardLogf, Errorf: func(format string, _ ...any) {
		if strings.Contains(format, "Failed to derive keypair") {
			m.Add(1)
		}
	}}
}

// startInside starts wireguard-go on host b, but in this process, where a new handshake can be asked of it.
func (w *wg) startInside(log *device.Logger) *device.Peer {
	w.t.Helper()
	var dev *device.Device
	name := wgDevice()
	w.must(w.b.Inside(func() error {
		t, err := tun.CreateTUN(name, lab.WireGuardMTU)
		if err != nil {
			return err
		}
		dev = device.NewDevice(t, conn.NewDefaultBind(), log)
		w.t.Cleanup(dev.Close)
		err = dev.IpcSet(fmt.Sprintf("private_key=%s\nlisten_port=%d\npublic_key=%s\nendpoint=%s:%d\nallowed_ip=10.1.0.0/16\n",
			hexKey(w.t, w.keys[1].Private), wgPort, hexKey(w.t, w.keys[0].Public), lab.PairA4, wgPort))
		if err != nil {
			return err
		}
		return dev.Up() // its sockets are made here
	}))
	w.must(w.b.IP("link", "set", name, "up"))
	w.must(w.b.AddAddress(name, "10.2.0.1/16"))
	w.must(w.b.IP("route", "add", "10.1.0.0/16", "dev", name))
	var key device.NoisePublicKey
	w.must(key.FromHex(hexKey(w.t, w.keys[0].Public)))
	return dev.LookupPeer(key)
}

// newKeys: both sides make new sessions, sometimes at the same time, under a stream both ways of which nothing is lost. What is lost
// when wireguard-go has mixed two handshakes says nothing of us.
func (w *wg) newKeys() {
	var mixed mixing
	peer := w.startInside(mixed.logger())
	w.startOurs(w.config(lab.PairB4+":51820", "", ""))
	w.first(w.ia, "10.2.0.1")
	for range 5 {
		before := mixed.Load()
		lost, sent := w.rekeyed(peer)
		switch {
		case lost == 0 && sent >= 2000:
			return
		case lost == 0 || mixed.Load() == before:
			w.t.Fatalf("%d of %d packets lost", lost, sent)
		}
		w.t.Logf("%d of %d packets lost; wireguard-go mixed two handshakes", lost, sent)
		w.reach(w.ia, "10.2.0.1")
	}
	w.t.Error("wireguard-go mixed handshakes every time")
}

// rekeyed returns how many packets of a stream were lost, and how many sent, while three sessions came about.
func (w *wg) rekeyed(peer *device.Peer) (lost, sent int) {
	w.t.Helper()
	ia, b := netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.2.0.1")
	flows, err := lab.StartFlows([]lab.Direction{{From: w.ia, To: w.b, Src: ia, Dst: b, Count: 1}, {From: w.b, To: w.ia, Src: b, Dst: ia, Count: 1}}, 4*time.Millisecond)
	w.must(err)
	defer flows.Close()
	begin := time.Now()
	var sessions []time.Time
	for i := 0; i < 11 || len(sessions) < 3; i++ {
		if i%2 == 0 { // it sends one in five seconds at the most
			w.must(peer.SendHandshakeInitiation(false))
		}
		w.must(w.client.Tunnel(w.ctx, "rekey", "peer", ""))
		select {
		case <-w.ctx.Done():
			w.t.Fatalf("%d sessions: %v", len(sessions), w.ctx.Err())
		case <-time.After(1200 * time.Millisecond): // of the stream
		}
		if last := w.tunnel("peer").WireGuard.LastHandshake; !slices.ContainsFunc(sessions, last.Equal) {
			sessions = append(sessions, last)
		}
	}
	until := time.Now()
	ctx, cancel := context.WithTimeout(w.ctx, 15*time.Second)
	defer cancel()
	_ = lab.WaitFor(ctx, "what is on its way", func() error { // what does not come is counted
		lost, sent = 0, 0
		for _, f := range flows.All {
			l := flows.Loss(f, begin, until)
			lost, sent = lost+l.Lost, sent+l.Sent
		}
		if lost > 0 {
			return errors.New("not all")
		}
		return nil
	})
	return lost, sent
}

// transfer is a TCP connection that carries pseudo-random octets.
type transfer struct {
	arrived atomic.Int64
	ended   chan error
}

// transfer sends octets to port 7 of an address, not faster than 4 MB/s.
func (w *wg) transfer(from, to *lab.Host, src, dst string, size int) *transfer {
	w.t.Helper()
	return newTransfer(w.t, from, to, src, dst, size)
}

func newTransfer(t testing.TB, from, to *lab.Host, src, dst string, size int) *transfer {
	t.Helper()
	var ln net.Listener
	var client net.Conn
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(to.Inside(func() (err error) {
		ln, err = net.Listen("tcp", dst+":7")
		return err
	}))
	t.Cleanup(func() { _ = ln.Close() })
	must(from.Inside(func() (err error) {
		client, err = net.DialTCP("tcp", &net.TCPAddr{IP: net.ParseIP(src)}, &net.TCPAddr{IP: net.ParseIP(dst), Port: 7})
		return err
	}))
	t.Cleanup(func() { _ = client.Close() })
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i*7 + i>>8 + i>>16)
	}
	go func() {
		for rest := data; len(rest) > 0; {
			n, err := client.Write(rest[:min(len(rest), 40<<10)])
			if err != nil {
				return
			}
			rest = rest[n:]
			time.Sleep(10 * time.Millisecond) // paces
		}
		_ = client.(*net.TCPConn).CloseWrite()
	}()
	tr := &transfer{ended: make(chan error, 1)}
	go func() { tr.ended <- tr.take(ln, data) }()
	return tr
}

func (tr *transfer) take(ln net.Listener, want []byte) error {
	c, err := ln.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	sum := sha256.New()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		sum.Write(buf[:n])
		tr.arrived.Add(int64(n))
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	if got := tr.arrived.Load(); got != int64(len(want)) || [sha256.Size]byte(sum.Sum(nil)) != sha256.Sum256(want) {
		return fmt.Errorf("%d of %d octets arrived, or others", got, len(want))
	}
	return nil
}

// inMiddle waits until a part of a transfer has arrived, does something, and waits for the end.
func (w *wg) inMiddle(tr *transfer, part int64, do func()) {
	w.t.Helper()
	tr.inMiddle(w.t, w.ctx, part, do)
}

func (tr *transfer) inMiddle(t testing.TB, ctx context.Context, part int64, do func()) {
	t.Helper()
	until(t, ctx, "the middle of a transfer", func() bool { return tr.arrived.Load() >= part })
	do()
	at := tr.arrived.Load()
	select {
	case err := <-tr.ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-ctx.Done():
		t.Fatalf("the transfer stopped: %d octets, %d since", at, tr.arrived.Load()-at)
	}
}

const (
	transferSize = 6 << 20
	transferPart = 1 << 20
)

// theirAddress: wireguard-go's address changes in the middle of a TCP transfer, which goes on.
func (w *wg) theirAddress() {
	w.startTheirs(lab.PairA4 + ":51820")
	w.startOurs(w.config(lab.PairB4+":51820", "", ""))
	w.first(w.b, "10.1.0.1")
	w.inMiddle(w.transfer(w.b, w.ia, "10.2.0.1", "10.1.0.1", transferSize), transferPart, func() {
		w.must(w.b.IP("addr", "del", lab.PairB4+"/24", "dev", "eth0"))
		w.must(w.b.AddAddress("eth0", "192.0.2.22/24"))
	})
	if at := w.tunnel("peer").WireGuard.Endpoint; at != "192.0.2.22:51820" {
		w.t.Errorf("endpoint %s", at)
	}
	w.first(w.ia, "10.2.0.1")
}

// ourAddress: ours does.
func (w *wg) ourAddress() {
	w.startTheirs("")
	w.startOurs(w.config(lab.PairB4+":51820", "", ""))
	w.first(w.ia, "10.2.0.1")
	w.inMiddle(w.transfer(w.ia, w.b, "10.1.0.1", "10.2.0.1", transferSize), transferPart, func() {
		w.must(w.a.IP("addr", "del", lab.PairA4+"/24", "dev", "eth0"))
		w.must(w.a.AddAddress("eth0", "192.0.2.11/24"))
	})
	if at := w.run(w.b, "wg", "show", w.peer.Device, "endpoints"); at != w.keys[0].Public+"\t192.0.2.11:51820\n" {
		w.t.Errorf("endpoint %s", at)
	}
	w.first(w.b, "10.1.0.1")
}

// weDie: killed and started again, we have a session with the first packet.
func (w *wg) weDie() {
	w.startTheirs("")
	conf := w.config(lab.PairB4+":51820", "", "")
	w.startOurs(conf)
	for range 2 {
		w.first(w.ia, "10.2.0.1")
		w.kill(w.warren)
		w.startOurs(conf)
	}
	w.first(w.ia, "10.2.0.1")
	w.first(w.b, "10.1.0.1")
}

// theyDie: so do they.
func (w *wg) theyDie() {
	w.startOurs(w.config("", "", ""))
	for range 2 {
		w.startTheirs(lab.PairA4 + ":51820")
		w.first(w.b, "10.1.0.1")
		w.first(w.ia, "10.2.0.1")
		w.kill(w.peer.Process)
	}
	w.startTheirs(lab.PairA4 + ":51820")
	w.first(w.b, "10.1.0.1")
}

// theyDieAndWait: a peer that has lost its session and does not know where we are is asked for another one when it has not answered
// for 15 s (paper, section 6.2).
func (w *wg) theyDieAndWait() {
	w.startTheirs("")
	w.startOurs(w.config(lab.PairB4+":51820", "", ""))
	w.first(w.ia, "10.2.0.1")
	w.kill(w.peer.Process)
	w.startTheirs("")
	begin := time.Now()
	w.reach(w.ia, "10.2.0.1")
	if d := time.Since(begin); d > 45*time.Second {
		w.t.Errorf("a new session after %v", d)
	}
}

// replays: what somebody has recorded and sends again is not answered, and does not make us send to him.
func (w *wg) replays() {
	w.startOurs(w.config("", "", ""))
	r := w.relay(w.b, "127.0.0.1:7000", lab.PairB4+":7001", lab.PairA4+":51820")
	w.startTheirs("127.0.0.1:7000")
	w.first(w.b, "10.1.0.1")
	initiations := r.of(0, wgInitiation)
	if len(initiations) == 0 {
		w.t.Fatal("no initiation")
	}
	before := w.tunnel("peer")
	other := w.listen(w.b, lab.PairB4+":7002")
	to := netip.MustParseAddrPort(lab.PairA4 + ":51820")
	for _, b := range append(initiations, r.of(0, wgData)...) {
		_, err := other.WriteToUDPAddrPort(b, to)
		w.must(err)
	}
	w.eventually("the replays to be dropped", func() error {
		if w.tunnel("peer").Drops["replayed"] == 0 {
			return fmt.Errorf("%v", w.tunnel("peer").Drops)
		}
		return nil
	})
	w.must(other.SetReadDeadline(time.Now().Add(300 * time.Millisecond)))
	if n, _, err := other.ReadFromUDPAddrPort(make([]byte, 2048)); err == nil {
		w.t.Errorf("%d octets in answer to a replay", n)
	}
	after := w.tunnel("peer")
	if after.WireGuard.Endpoint != lab.PairB4+":7001" || !after.WireGuard.LastHandshake.Equal(before.WireGuard.LastHandshake) {
		w.t.Errorf("%+v, before %+v", after.WireGuard, before.WireGuard)
	}
	w.first(w.ia, "10.2.0.1")
}

// weAreFlooded: under a flood of initiations we ask for cookies, and wireguard-go, which brings one, has a session.
func (w *wg) weAreFlooded() {
	w.startOurs(w.config("", "", ""))
	stop := w.flood(w.b, w.keys[0].Public, lab.PairA4+":51820")
	r := w.relay(w.b, "127.0.0.1:7000", lab.PairB4+":7001", lab.PairA4+":51820")
	w.startTheirs("127.0.0.1:7000")
	w.reach(w.b, "10.1.0.1")
	if len(r.of(1, wgCookie)) == 0 {
		w.t.Error("a session without a cookie")
	}
	if all := r.of(0, wgInitiation); !withCookie(all) {
		w.t.Errorf("%d initiations, none with a cookie", len(all))
	}
	stop()
	w.first(w.ia, "10.2.0.1")
}

// theyAreFlooded: the other way around.
func (w *wg) theyAreFlooded() {
	w.startTheirs("")
	w.flood(w.b, w.keys[1].Public, "127.0.0.1:51820")
	r := w.relay(w.b, lab.PairB4+":7000", "127.0.0.1:7001", "127.0.0.1:51820")
	w.startOurs(w.config(lab.PairB4+":7000", "", ""))
	w.reach(w.ia, "10.2.0.1")
	if len(r.of(1, wgCookie)) == 0 {
		w.t.Error("a session without a cookie")
	}
	if all := r.of(0, wgInitiation); !withCookie(all) {
		w.t.Errorf("%d initiations, none with a cookie", len(all))
	}
}

// withCookie says whether one of the initiations has a mac2.
func withCookie(all [][]byte) bool {
	return slices.ContainsFunc(all, func(b []byte) bool {
		return len(b) == wgInitiationSize && [16]byte(b[wgMacs+16:]) != [16]byte{}
	})
}
