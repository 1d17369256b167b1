package ike

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/message"
	"github.com/warrenvpn/warren/tunnel/ike/proposal"
)

// chaCha is a seeded source of randomness.
type chaCha struct{ *rand.ChaCha8 }

func seeded(seed uint64) chaCha {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return chaCha{rand.NewChaCha8(key)}
}

// spiBook is an SPIs that knows who holds what.
type spiBook struct {
	t    testing.TB
	next uint32
	// held: reserved by the machine; installed: named by an action.
	held, installed map[uint32]bool
}

func (b *spiBook) Allocate(string) (uint32, error) {
	b.next++
	b.held[b.next] = true
	return b.next, nil
}

func (b *spiBook) Release(spi uint32) {
	if !b.held[spi] {
		b.t.Errorf("SPI %x is released, but not held", spi)
	}
	delete(b.held, spi)
}

func (b *spiBook) install(spi uint32) {
	if !b.held[spi] {
		b.t.Errorf("SPI %x is installed, but was not held", spi)
	}
	delete(b.held, spi)
	b.installed[spi] = true
}

// A node is an Endpoint with what a data plane would know.
type node struct {
	*Endpoint
	net  *network
	name string
	addr netip.AddrPort // port 500
	book *spiBook
	// What the actions say.
	sas  map[uint32]ChildSA
	out  map[string]uint32 // by child: the inbound SPI of the pair that sends
	ikes map[uint64]IKE
	logs []Log
	all  []Action
	keys map[string]bool
}

// A packet is on its way.
type packet struct {
	at       time.Time
	seq      int
	from, to netip.AddrPort
	natt     bool
	data     []byte
}

// A network carries datagrams between two nodes, with a delay, and as rough as it is told.
type network struct {
	t       testing.TB
	now     time.Time
	rand    *rand.Rand
	nodes   []*node
	flying  []packet
	seq     int
	delay   time.Duration
	jitter  time.Duration
	loss    float64
	double  float64
	filter  func(p *packet) bool // false: lost
	nat     map[netip.AddrPort]netip.AddrPort
	carried int
}

func newNetwork(t testing.TB, seed uint64) *network {
	return &network{t: t, now: time.Unix(1e9, 0), rand: rand.New(rand.NewPCG(seed, 1)), delay: 10 * time.Millisecond}
}

func (n *network) node(name, addr string, seed uint64, change func(*Config)) *node {
	cfg := Config{Rand: seeded(seed), ExportKeys: true}
	book := &spiBook{t: n.t, next: uint32(seed&0xff+1) << 16, held: map[uint32]bool{}, installed: map[uint32]bool{}}
	cfg.SPIs = book
	if change != nil {
		change(&cfg)
	}
	e, err := New(cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	nd := &node{Endpoint: e, net: n, name: name, addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 500), book: book,
		sas: map[uint32]ChildSA{}, out: map[string]uint32{}, ikes: map[uint64]IKE{}, keys: map[string]bool{}}
	n.nodes = append(n.nodes, nd)
	return nd
}

func (nd *node) installSA(c ChildSA) {
	nd.book.install(c.In)
	nd.sas[c.In] = c
	for _, k := range [][]byte{c.InKey, c.OutKey} {
		if nd.keys[string(k)] {
			nd.net.t.Errorf("%s: child %q %x: a key is used twice", nd.name, c.Name, c.In)
		}
		nd.keys[string(k)] = true
	}
}

// do carries actions out.
func (nd *node) do(actions []Action) {
	nd.all = append(nd.all, actions...)
	for _, a := range actions {
		switch a := a.(type) {
		case Send:
			nd.net.carry(nd, a)
		case ChildUp:
			nd.installSA(a.ChildSA)
			if nd.out[a.Name] == 0 {
				nd.out[a.Name] = a.In
			}
		case ChildRekeyed:
			if _, ok := nd.sas[a.Old]; !ok {
				nd.net.t.Errorf("%s: child %x replaces %x, which is not installed", nd.name, a.In, a.Old)
			}
			nd.installSA(a.ChildSA)
			if a.Outbound {
				nd.out[a.Name] = a.In
			}
		case ChildOutbound:
			if _, ok := nd.sas[a.In]; !ok {
				nd.net.t.Errorf("%s: outbound on %x, which is not installed", nd.name, a.In)
			}
			nd.out[a.Name] = a.In
		case ChildDown:
			if _, ok := nd.sas[a.In]; !ok {
				nd.net.t.Errorf("%s: child %x is down, but was not installed", nd.name, a.In)
			}
			delete(nd.sas, a.In)
			delete(nd.book.installed, a.In)
			if nd.out[a.Name] == a.In {
				delete(nd.out, a.Name)
			}
		case IKEUp:
			nd.ikes[a.Number] = a.IKE
		case IKERekeyed:
			nd.ikes[a.Number] = a.IKE
		case IKEDown:
			delete(nd.ikes, a.Number)
		case IKEKeys:
			for _, k := range [][]byte{a.EI, a.ER} {
				if nd.keys[string(k)] {
					nd.net.t.Errorf("%s: IKE SA %x: a key is used twice", nd.name, a.SPIs)
				}
				nd.keys[string(k)] = true
			}
		case Log:
			nd.logs = append(nd.logs, a)
		}
	}
}

func (nd *node) must(actions []Action, err error) {
	nd.net.t.Helper()
	if err != nil {
		nd.net.t.Fatal(err)
	}
	nd.do(actions)
}

func (n *network) carry(from *node, s Send) {
	src := s.From
	if !src.Addr().IsValid() {
		src = netip.AddrPortFrom(from.addr.Addr(), s.From.Port())
	}
	p := packet{from: src, to: s.To, natt: s.NATT, data: slices.Clone(s.Datagram)}
	if to, ok := n.nat[p.from]; ok {
		p.from = to
	}
	for real, mapped := range n.nat {
		if mapped == p.to {
			p.to = real
		}
	}
	if n.filter != nil && !n.filter(&p) {
		return
	}
	for copies := 1; copies > 0; copies-- {
		if n.rand.Float64() < n.double {
			copies++
		}
		if n.rand.Float64() < n.loss {
			continue
		}
		p.at = n.now.Add(n.delay)
		if n.jitter > 0 {
			p.at = p.at.Add(time.Duration(n.rand.Int64N(int64(n.jitter))))
		}
		n.seq++
		p.seq = n.seq
		n.flying = append(n.flying, p)
	}
}

// step lets the next thing happen; false if nothing would before the end.
func (n *network) step(end time.Time) bool {
	at := end
	which := -1
	for i, p := range n.flying {
		if p.at.Before(at) || p.at.Equal(at) && which >= 0 && p.seq < n.flying[which].seq {
			at, which = p.at, i
		}
	}
	var ticking *node
	for _, nd := range n.nodes {
		if d := nd.Deadline(); !d.IsZero() && d.Before(at) {
			at, ticking = d, nd
		}
	}
	if which < 0 && ticking == nil {
		n.now = end
		return false
	}
	if at.After(n.now) {
		n.now = at
	}
	if ticking != nil {
		ticking.do(ticking.Tick(n.now))
		return true
	}
	p := n.flying[which]
	n.flying = slices.Delete(n.flying, which, which+1)
	for _, nd := range n.nodes {
		if nd.addr.Addr() == p.to.Addr() {
			n.carried++
			if len(p.data) > 1 {
				nd.do(nd.Receive(n.now, p.to, p.from, p.natt, p.data))
			}
		}
	}
	return true
}

func (n *network) run(d time.Duration) {
	end := n.now.Add(d)
	for steps := 0; n.step(end); steps++ {
		if steps > 200000 {
			n.t.Fatal("the two do not come to rest")
		}
	}
}

func ikeList(t testing.TB, s string) proposal.List {
	t.Helper()
	l, err := proposal.ParseIKE(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func espList(t testing.TB, s string) proposal.List {
	t.Helper()
	l, _, err := proposal.ParseESP(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func fqdn(s string) message.ID { return message.ID{Type: message.IDFQDN, Data: []byte(s)} }

func ts(prefixes ...string) []message.TrafficSelector {
	var out []message.TrafficSelector
	for _, p := range prefixes {
		out = append(out, message.SelectorOf(netip.MustParsePrefix(p)))
	}
	return out
}

// pair is two nodes, moon and sun, configured for each other.
type pair struct {
	*network
	moon, sun       *node
	moonCfg, sunCfg PeerConfig
}

func newPair(t testing.TB, seed uint64) *pair {
	n := newNetwork(t, seed)
	p := &pair{network: n}
	p.moon = n.node("moon", "192.0.2.1", 2*seed+10, nil)
	p.sun = n.node("sun", "192.0.2.2", 2*seed+11, nil)
	secret := Secret("a shared secret")
	p.moonCfg = PeerConfig{
		Name: "sun", Local: p.moon.addr.Addr(), Remote: p.sun.addr.Addr(), Proposals: ikeList(t, "aes256gcm16-prfsha256-curve25519"),
		Credentials: &PSK{Secret: secret, Local: fqdn("moon"), Remote: fqdn("sun")},
		Children: []ChildConfig{{Name: "net", Proposals: espList(t, "aes256gcm16"), Local: ts("10.1.0.0/16"),
			Remote: ts("10.2.0.0/16")}},
	}
	p.sunCfg = p.moonCfg
	p.sunCfg.Name, p.sunCfg.Local, p.sunCfg.Remote = "moon", p.sun.addr.Addr(), p.moon.addr.Addr()
	p.sunCfg.Credentials = &PSK{Secret: secret, Local: fqdn("sun"), Remote: fqdn("moon")}
	p.sunCfg.Children = []ChildConfig{p.moonCfg.Children[0]}
	p.sunCfg.Children[0].Local, p.sunCfg.Children[0].Remote = ts("10.2.0.0/16"), ts("10.1.0.0/16")
	return p
}

// add configures both peers.
func (p *pair) add() {
	p.t.Helper()
	p.moon.must(p.moon.AddPeer(p.now, p.moonCfg))
	p.sun.must(p.sun.AddPeer(p.now, p.sunCfg))
}

// up configures both and has moon initiate everything.
func (p *pair) up() {
	p.t.Helper()
	p.add()
	p.moon.must(p.moon.Initiate(p.now, "sun", ""))
	p.run(5 * time.Second)
	p.agree(len(p.moonCfg.Children))
}
