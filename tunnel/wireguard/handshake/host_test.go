package handshake

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// start is when the tests' clocks begin.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// table is Indices as a map; it is also the proof that none leaks.
type table struct {
	t    testing.TB
	rnd  *rand.Rand
	used map[uint32]*Peer
}

func (x *table) Allocate(p *Peer) uint32 {
	for {
		i := x.rnd.Uint32()
		if x.used[i] == nil {
			x.used[i] = p
			return i
		}
	}
}

func (x *table) Release(i uint32) {
	x.t.Helper()
	if x.used[i] == nil {
		x.t.Errorf("index %#x is released twice", i)
	}
	delete(x.used, i)
}

// A session is a keypair in a transport that is simple, slow and strict.
type session struct {
	pair          *Keypair
	send, receive cipher.AEAD
	counter       uint64
	seen          map[uint64]bool
}

// A packet is what a host received and opened.
type packet struct {
	peer *Peer
	data string
	by   *Keypair
}

// A host is a Device with such a transport.
type host struct {
	t        testing.TB
	name     string
	d        *Device
	key      PrivateKey
	at       netip.AddrPort
	now      func() time.Time
	indices  *table
	sessions map[uint32]*session
	current  map[*Peer]*session
	ends     map[*Peer]netip.AddrPort
	waiting  map[*Peer][]string
	keys     *keyLedger
	out      func(to netip.AddrPort, b []byte)
	drops    [Drops]int
	load     bool
	usual    bool // see asUsual

	opened  []packet
	actions []Action // all but Send, for who looks
	gaveUp  int
}

// keyLedger knows every key that was ever sent by, and the last counter under it, whoever restarts.
type keyLedger struct {
	t     testing.TB
	owner map[[KeySize]byte]*Keypair
	last  map[[KeySize]byte]uint64
}

func newLedger(t testing.TB) *keyLedger {
	return &keyLedger{t, make(map[[KeySize]byte]*Keypair), make(map[[KeySize]byte]uint64)}
}

func (l *keyLedger) add(k *Keypair) {
	if l.owner[k.SendKey] != nil {
		l.t.Errorf("a key is installed twice")
	}
	if zero(k.SendKey[:]) || zero(k.RecvKey[:]) || k.SendKey == k.RecvKey {
		l.t.Errorf("keys that are none are installed")
	}
	l.owner[k.SendKey] = k
}

func (l *keyLedger) seal(key [KeySize]byte, counter uint64) {
	if last, ok := l.last[key]; ok && counter <= last {
		l.t.Errorf("counter %d after %d under the same key", counter, last)
	}
	l.last[key] = counter
}

func newHost(t testing.TB, name string, key PrivateKey, rnd *rand.Rand, now, wall func() time.Time, keys *keyLedger) *host {
	t.Helper()
	h := &host{t: t, name: name, key: key, now: now, keys: keys}
	h.indices = &table{t, rnd, make(map[uint32]*Peer)}
	h.sessions, h.current = make(map[uint32]*session), make(map[*Peer]*session)
	h.ends, h.waiting = make(map[*Peer]netip.AddrPort), make(map[*Peer][]string)
	var err error
	h.d, err = New(Config{PrivateKey: key, Indices: h.indices, Wall: wall,
		Jitter: func(below time.Duration) time.Duration { return time.Duration(rnd.Int64N(int64(below))) }})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *host) add(c PeerConfig, at netip.AddrPort) *Peer {
	h.t.Helper()
	p, err := h.d.AddPeer(h.now(), c)
	if err != nil {
		h.t.Fatal(err)
	}
	h.ends[p] = at
	return p
}

// obey carries out the actions.
func (h *host) obey() {
	h.t.Helper()
	h.checkTimers()
	for _, a := range h.d.Actions() {
		if _, ok := a.(Send); !ok {
			h.actions = append(h.actions, a)
		}
		switch a := a.(type) {
		case Send:
			to := a.To
			if !to.IsValid() {
				to = h.ends[a.Peer]
			}
			if to.IsValid() {
				h.out(to, a.Bytes)
			}
		case Rotate:
			h.rotate(a)
		case Erase:
			delete(h.sessions, a.Keypair.LocalIndex)
		case SendKeepalive:
			if s := h.current[a.Peer]; !a.Confirm || s == nil || s.counter == 0 {
				h.seal(a.Peer, "")
			}
		case Roam:
			h.ends[a.Peer] = a.From
		case GiveUp:
			h.gaveUp++
			h.waiting[a.Peer] = nil
		}
	}
}

func (h *host) rotate(a Rotate) {
	h.t.Helper()
	for _, k := range a.Keypairs.all() {
		if k == nil {
			continue
		}
		if s := h.sessions[k.LocalIndex]; s == nil || s.pair != k {
			if h.indices.used[k.LocalIndex] != a.Peer {
				continue // rotated out again in the same batch
			}
			h.keys.add(k)
			s := &session{pair: k, seen: make(map[uint64]bool)}
			s.send, _ = chacha20poly1305.New(k.SendKey[:])
			s.receive, _ = chacha20poly1305.New(k.RecvKey[:])
			h.sessions[k.LocalIndex] = s
		}
	}
	delete(h.current, a.Peer)
	if k := a.Keypairs.Current; k != nil && h.sessions[k.LocalIndex] != nil {
		h.current[a.Peer] = h.sessions[k.LocalIndex]
		h.flush(a.Peer)
	}
}

// flush sends what waits.
func (h *host) flush(p *Peer) {
	waiting := h.waiting[p]
	h.waiting[p] = nil
	for _, data := range waiting {
		h.seal(p, data)
	}
}

// send sends data to a peer, or lets it wait for a session.
func (h *host) send(p *Peer, data string) {
	h.t.Helper()
	if h.current[p] == nil {
		h.waiting[p] = append(h.waiting[p], data)
		h.d.Actions()
		p.NeedSession(h.now())
	} else {
		h.seal(p, data)
	}
	h.obey()
}

func (h *host) seal(p *Peer, data string) {
	h.t.Helper()
	s := h.current[p]
	if s == nil {
		h.t.Fatalf("%s is to send without a session", h.name)
	}
	if age := h.now().Sub(s.pair.Created); age > RejectAfterTime+time.Second {
		h.t.Errorf("%s sends by a keypair of %v", h.name, age)
	}
	h.keys.seal(s.pair.SendKey, s.counter)
	b := make([]byte, TransportHeaderSize)
	PutTransport(b, s.pair.RemoteIndex, s.counter)
	b = s.send.Seal(b, nonce(s.counter), []byte(data), nil)
	s.counter++
	h.out(h.ends[p], b)
	p.Sent(h.now(), data != "")
}

func nonce(counter uint64) []byte {
	return binary.LittleEndian.AppendUint64(make([]byte, 4, 12), counter)
}

// receive takes a datagram.
func (h *host) receive(b []byte, from netip.AddrPort) {
	h.t.Helper()
	if index, counter, ok := ParseTransport(b); ok {
		h.open(index, counter, b, from)
	} else {
		drop := h.d.HandleMessage(h.now(), b, from, h.load)
		h.drops[drop]++
		if h.usual && drop == None {
			h.asUsual(b)
		}
	}
	h.obey()
}

// asUsual makes of a message's outcome that which it has in the kernel and in wireguard-go: an initiation is answered at once, ends the
// handshake that was begun, and takes the previous keypair's place; a response takes Current's if there is a Next.
func (h *host) asUsual(b []byte) {
	for _, p := range h.d.peers {
		switch kind, _ := TypeOf(b); kind {
		case TypeInitiation:
			p.forget()
			if p.held != nil {
				p.respond(h.now(), p.held)
			}
			p.rotate(Keypairs{Current: p.keypairs.Current, Next: p.keypairs.Next})
		case TypeResponse:
			to := Keypairs{Previous: p.keypairs.Previous, Current: p.keypairs.Current}
			if p.keypairs.Crossed != nil {
				to.Previous = p.keypairs.Crossed
			}
			p.rotate(to)
		}
	}
}

func (h *host) open(index uint32, counter uint64, b []byte, from netip.AddrPort) {
	s := h.sessions[index]
	if s == nil || s.seen[counter] {
		return
	}
	data, err := s.receive.Open(nil, nonce(counter), b[TransportHeaderSize:], nil)
	if err != nil {
		h.t.Errorf("%s: a packet to one of its sessions does not open", h.name)
		return
	}
	s.seen[counter] = true
	p := h.indices.used[index]
	h.ends[p] = from
	h.opened = append(h.opened, packet{p, string(data), s.pair})
	p.Received(h.now(), len(data) > 0, s.pair)
}

// took returns what was opened since it was last asked, without keepalives.
func (h *host) took() (data []string) {
	for _, p := range h.opened {
		if p.data != "" {
			data = append(data, p.data)
		}
	}
	h.opened = nil
	return data
}

// checkTimers says that no timer is due before Deadline.
func (h *host) checkTimers() {
	h.t.Helper()
	deadline := h.d.Deadline()
	for _, p := range h.d.peers {
		if first := p.earliest(); !first.IsZero() && (deadline.IsZero() || first.Before(deadline)) {
			h.t.Errorf("%s: a timer is due at %v, Deadline is %v", h.name, first, deadline)
		}
	}
}

// checkIndices says that exactly the indices of handshakes and keypairs are in use.
func (h *host) checkIndices() {
	h.t.Helper()
	want := 0
	for _, p := range h.d.peers {
		if p.begun != nil {
			want++
		}
		for _, k := range p.keypairs.all() {
			if k != nil {
				want++
			}
		}
	}
	if len(h.indices.used) != want || len(h.d.owners) != want || len(h.sessions) > want {
		h.t.Errorf("%s has %d indices in use, %d owned, %d sessions, and should have %d",
			h.name, len(h.indices.used), len(h.d.owners), len(h.sessions), want)
	}
}

// address is the n'th host's.
func address(n int) netip.AddrPort {
	return netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:51820", n+1))
}
