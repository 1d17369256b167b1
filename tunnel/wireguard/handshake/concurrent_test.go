package handshake

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/warrenvpn/warren/internal/race"
)

// TestPrepareBesideTheOwner prepares initiations of many peers in several goroutines, while the owner commits them, adds and
// removes peers and changes keys.
func TestPrepareBesideTheOwner(t *testing.T) {
	const clients, each = 8, 12
	now := func() time.Time { return start }
	rnd := rand.New(rand.NewPCG(1, 1))
	server := newHost(t, "server", NewPrivateKey(), rnd, now, now, newLedger(t))
	server.out = func(_ netip.AddrPort, _ []byte) {}

	prepared := make(chan Prepared, clients*each)
	var wg sync.WaitGroup
	for i := range clients {
		key := NewPrivateKey()
		server.add(PeerConfig{PublicKey: key.Public(), PresharedKey: NewPresharedKey()}, address(i))
		client := newHost(t, "client", key, rand.New(rand.NewPCG(2, uint64(i))), now, now, newLedger(t))
		p := client.add(PeerConfig{PublicKey: server.d.PublicKey()}, address(100))
		wg.Go(func() {
			for n := range each {
				p.end()
				p.NeedSession(start)
				for _, a := range client.d.Actions() {
					if s, ok := a.(Send); ok {
						at := start.Add(time.Duration(n) * time.Second)
						prepared <- server.d.Prepare(at, s.Bytes, address(i), n%4 == 3, Knock{})
					}
				}
			}
		})
	}
	go func() { wg.Wait(); close(prepared) }()

	var drops [Drops]int
	at := start
	for m := range prepared {
		at = at.Add(time.Second)
		drops[server.d.Commit(at, m)]++
		server.obey()
		p := server.add(PeerConfig{PublicKey: NewPrivateKey().Public()}, address(50))
		server.d.RemovePeer(p)
		if p := server.d.owners[anyKey(server.indices.used)]; p != nil {
			p.SetPresharedKey(NewPresharedKey())
		}
		server.obey()
	}
	if drops[None] < clients || drops[NeedsCookie] != clients*each/4 || drops[BadHandshake]+drops[UnknownPeer] != 0 {
		t.Errorf("drops %v", drops)
	}
	server.checkIndices()
}

func anyKey(m map[uint32]*Peer) uint32 {
	for k := range m {
		return k
	}
	return 0
}

// TestFloodsAndSamplesDoNotAllocate: a flood with bad MACs, one without cookies, and what the packet path tells, feed no garbage collector.
func TestFloodsAndSamplesDoNotAllocate(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector makes sync.Pool forget at random")
	}
	w := newPair(t, 1)
	w.connect()
	w.peers[0].SetPersistentKeepalive(w.now, 25*time.Second)
	w.run(30 * time.Second)
	d, p, k := w.hosts[0].d, w.peers[0], w.peers[0].Keypairs().Current
	garbage := make([]byte, InitiationSize)
	garbage[0] = 1
	from := address(3)
	d.Actions()
	if n := testing.AllocsPerRun(1000, func() { d.HandleMessage(w.now, garbage, from, true) }); n != 0 {
		t.Errorf("a bad mac1: %v allocations", n)
	}
	initiation, buf := initiationTo(t, w, 0), make([]byte, 0, CookieReplySize)
	if n := testing.AllocsPerRun(1000, func() {
		by, _ := d.Knocks(initiation)
		if m := d.Prepare(w.now, initiation, from, true, by); m.Drop() == NeedsCookie {
			m.Refusal(buf)
		} else {
			t.Fatal(m.Drop())
		}
	}); n != 0 {
		t.Errorf("an initiation without a cookie: %v allocations", n)
	}
	now := w.now
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Millisecond)
		p.Sent(now, true)
		p.Received(now, true, k)
		p.Counter(now, k, 5)
		d.Actions()
	}); n != 0 {
		t.Errorf("samples: %v allocations", n)
	}
}
