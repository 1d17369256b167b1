//go:build linux

package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/bench/lab"
)

// keyed is one end of a tunnel that IKEv2 keys: a warren with a namespace of its own for the clear side, or a charon whose
// clear side is its host.
type keyed struct {
	host, inside *lab.Host
	outer, inner netip.Addr
	seen         netip.Addr // its outer address as the peer sees it
	ours         bool       // warren, else charon
	conf, sock   string     // of warren: files
	text         string     // of the configuration
	options      []string
	daemon       *lab.Process
	charon       *lab.StrongSwan
}

// keyedPair are two ends and what runs between them.
type keyedPair struct {
	lab     *lab.Lab
	program string
	a, b    *keyed
	middle  *middle // nil where they are joined by a wire
	flows   *lab.Flows
}

// kinds says what runs at a and at b.
type kinds struct{ a, b bool }

var (
	weWe         = kinds{true, true}
	weCharon     = kinds{true, false}
	charonWe     = kinds{false, true}
	charonCharon = kinds{false, false}
)

func (k kinds) String() string {
	return nameOf(k.a) + " to " + nameOf(k.b)
}

func nameOf(ours bool) string {
	if ours {
		return "warren"
	}
	return "charon"
}

// settings are what the configurations of an end say beyond addresses and identities, in each program's own words.
type settings struct {
	// ipsec and child are lines of warren's mappings, conn and children of charon's connection and child.
	ipsec, child    string
	start, engine   string // warren's start_action, none if empty; its mapping ike
	encap           string // of warren; always if empty
	conn, charChild string
	options         []string // of charon itself
}

// newKeyedPair makes two hosts, a with 10.1.0.0/16 behind it and b with 10.2.0.0/16, joined by a wire or by a router between.
func newKeyedPair(program string, k kinds, between *middleOptions) (*keyedPair, error) {
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	p := &keyedPair{lab: l, program: program}
	if err := p.build(k, between); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *keyedPair) build(k kinds, between *middleOptions) error {
	var a, b *lab.Host
	var err error
	outerA, outerB := lab.PairA4, lab.PairB4
	if between == nil {
		a, b, err = p.lab.Pair()
	} else if a, err = p.lab.Host("a"); err == nil {
		outerA, outerB = middleA, middleB
		if b, err = p.lab.Host("b"); err == nil {
			p.middle, err = newMiddle(p.lab, a, b, *between)
		}
	}
	if err != nil {
		return err
	}
	if p.a, err = p.end(a, k.a, outerA, "10.1.0.1"); err != nil {
		return err
	}
	if between != nil && between.nat {
		p.a.seen = netip.MustParseAddr(middleOutside)
	}
	p.b, err = p.end(b, k.b, outerB, "10.2.0.1")
	return err
}

func (p *keyedPair) end(h *lab.Host, ours bool, outer, inner string) (*keyed, error) {
	e := &keyed{host: h, inside: h, outer: netip.MustParseAddr(outer), seen: netip.MustParseAddr(outer), inner: netip.MustParseAddr(inner), ours: ours}
	if !ours {
		return e, h.AddAddress("lo", inner+"/32")
	}
	e.conf, e.sock = filepath.Join(p.lab.Dir(), h.Name+".yaml"), filepath.Join(p.lab.Dir(), h.Name+".sock")
	var err error
	e.inside, err = p.lab.Host("i" + h.Name)
	return e, err
}

func (p *keyedPair) close() error {
	if p.flows != nil {
		_ = p.flows.Close() // its sockets go with the namespaces
	}
	if p.middle != nil {
		p.middle.close()
	}
	return p.lab.Close()
}

// keyedSite is warren's configuration: outer and inner address, namespace, the peer's outer address, identities, further keys,
// networks.
const keyedSite = `underlay: {addresses: [%[1]s]}
ike: {%[12]s}
vrfs:
  main:
    port: {tun: warren0, netns: %[3]q, addresses: [%[2]s/16]}
    kernel: {export: [{from: ipsec}]}
tunnels:
  peer:
    ipsec:
      remote: %[4]s
      local_id: %[5]s.example
      remote_id: %[6]s.example
      psk: "a secret of tests, long enough"
      proposals: aes128gcm16-prfsha256-curve25519
      esp_proposals: aes128gcm16
      encap: %[13]s
      start_action: %[11]s
%[7]s      child:
        local_ts: [%[8]s]
        remote_ts: [%[9]s]
%[10]s`

// keyedCharon is the same in the language of swanctl.conf(5).
const keyedCharon = `connections { t {
  version = 2
  local_addrs = %[1]s
  remote_addrs = %[2]s
  encap = yes
  proposals = aes128gcm16-prfsha256-curve25519
%[5]s
  local { auth = psk
    id = %[3]s.example }
  remote { auth = psk
    id = %[4]s.example }
  children { c {
    local_ts = %[6]s
    remote_ts = %[7]s
    esp_proposals = aes128gcm16
%[8]s } } } }
secrets { ike-t { secret = "a secret of tests, long enough" } }
`

func network(inner netip.Addr) string { return netip.PrefixFrom(inner, 16).Masked().String() }

// indentBy puts each line of a text behind spaces.
func indentBy(text string, by int) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.Repeat(" ", by) + strings.TrimRight(line, "\n") + "\n")
	}
	return b.String()
}

// configure writes an end's configuration.
func (e *keyed) configure(peer *keyed, s settings) {
	if e.ours {
		e.text = fmt.Sprintf(keyedSite, e.outer, e.inner, e.inside.Namespace, peer.seen, e.host.Name, peer.host.Name, indentBy(s.ipsec, 6),
			network(e.inner), network(peer.inner), indentBy(s.child, 8), cmp.Or(s.start, "none"), s.engine, cmp.Or(s.encap, "always"))
		return
	}
	e.options = s.options
	e.text = fmt.Sprintf(keyedCharon, e.outer, peer.seen, e.host.Name, peer.host.Name, s.conn, network(e.inner), network(peer.inner), s.charChild)
}

// start starts both ends. edit changes their configurations before, unless it is nil.
func (p *keyedPair) start(ctx context.Context, a, b settings, edit func(p *keyedPair, text string) string) error {
	p.a.configure(p.b, a)
	p.b.configure(p.a, b)
	for _, e := range []*keyed{p.a, p.b} {
		if edit != nil {
			e.text = edit(p, e.text)
		}
		if err := p.startEnd(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// startEnd starts the program of one end.
func (p *keyedPair) startEnd(ctx context.Context, e *keyed) (err error) {
	if !e.ours {
		e.charon, err = e.host.StartStrongSwan(ctx, e.text, e.options...)
		if err == nil {
			e.daemon = e.charon.Process
		}
		return err
	}
	if err := os.WriteFile(e.conf, []byte(e.text), 0o600); err != nil {
		return err
	}
	if e.daemon, err = e.host.Start(p.program, "run", "--socket", e.sock, e.conf); err != nil {
		return err
	}
	return e.daemon.Wait(ctx, "the engine to answer", func() error {
		s, err := warren.NewClient(e.sock).Status(ctx)
		if err == nil && s.State != "running" {
			err = errors.New("not running yet")
		}
		return err
	})
}

// initiate brings the tunnel up from one end, and waits until packets cross.
func (p *keyedPair) initiate(ctx context.Context, e *keyed) error {
	var err error
	if e.ours {
		err = warren.NewClient(e.sock).Tunnel(ctx, "up", "peer", "")
	} else {
		err = e.charon.Initiate(ctx, "c")
	}
	if err != nil {
		return err
	}
	return p.reach(ctx, e)
}

// reach waits until an end's packets come back.
func (p *keyedPair) reach(ctx context.Context, e *keyed) error {
	err := e.inside.WaitReachable(ctx, p.other(e).inner.String(), "-W", "0.2", "-I", e.inner.String())
	if err != nil {
		return fmt.Errorf("%w\n%s", err, p.logs())
	}
	return nil
}

func (p *keyedPair) other(e *keyed) *keyed {
	if e == p.a {
		return p.b
	}
	return p.a
}

// log is what an end's program has written.
func (e *keyed) log() string {
	switch {
	case e.charon != nil:
		return e.charon.Log()
	case e.daemon != nil:
		return e.daemon.Log()
	}
	return ""
}

func (p *keyedPair) logs() string {
	return "--- a\n" + lastLines(p.a.log(), 60) + "--- b\n" + lastLines(p.b.log(), 60)
}

func lastLines(s string, n int) string {
	lines := strings.SplitAfter(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}

// stream begins a paced stream of numbered datagrams each way.
func (p *keyedPair) stream(every time.Duration) (err error) {
	p.flows, err = lab.StartFlows([]lab.Direction{
		{From: p.a.inside, To: p.b.inside, Src: p.a.inner, Dst: p.b.inner, Count: 1},
		{From: p.b.inside, To: p.a.inside, Src: p.b.inner, Dst: p.a.inner, Count: 1}}, every)
	return err
}

// lost counts what was sent since a time up to now and does not arrive.
func (p *keyedPair) lost(ctx context.Context, since time.Time) (lost, sent int) {
	until := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = lab.WaitFor(ctx, "what is on its way", func() error { // what does not come is the result
		lost, sent = 0, 0
		for _, f := range p.flows.All {
			l := p.flows.Loss(f, since, until)
			lost, sent = lost+l.Lost, sent+l.Sent
		}
		if lost > 0 {
			return errors.New("not all")
		}
		return nil
	})
	return lost, sent
}

// where describes what was lost, for who reads the failure.
func (p *keyedPair) where(since time.Time) string {
	var b strings.Builder
	for i, f := range p.flows.All {
		if l := p.flows.Loss(f, since, time.Now().Add(-time.Second)); l.Lost > 0 {
			fmt.Fprintf(&b, "from %s: %d of %d, %s to %s\n", []string{"a", "b"}[i], l.Lost, l.Sent, l.First.Format("15:04:05.000"), l.Last.Format("15:04:05.000"))
		}
	}
	return b.String()
}

// run is one experiment: a pair of its own, and what is done with it.
type run struct {
	name  string
	kinds kinds
	a, b  settings
	// between is nil for a wire.
	between *middleOptions
	edit    func(p *keyedPair, text string) string // nil to leave configurations as they are
	do      func(ctx context.Context, p *keyedPair) error
	// timed says that it judges how long something takes, or what is lost meanwhile. It is tried several times, like what is
	// tried fairly.
	timed bool
}

// together makes experiments at the same time, each in its own lab: most of their time is waiting.
func together(t testing.TB, runs []run) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	lab.Require(t, append(lab.StrongSwanPrograms, "ip", "ping")...)
	program := build(t)
	ctx := limit(t)
	var all sync.WaitGroup
	errs := make([]error, len(runs))
	for i, r := range runs {
		all.Go(func() {
			for n := 1; ; n++ {
				errs[i] = r.try(ctx, program)
				if errs[i] == nil || !r.timed || n == maxTries || ctx.Err() != nil {
					return
				}
				t.Logf("%s, %s: try %d failed: %v", r.name, r.kinds, n, errs[i])
			}
		})
	}
	all.Wait()
	for i, r := range runs {
		if errs[i] != nil {
			t.Errorf("%s, %s: %v", r.name, r.kinds, errs[i])
		}
	}
}

func (r *run) try(ctx context.Context, program string) (err error) {
	p, err := newKeyedPair(program, r.kinds, r.between)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.start(ctx, r.a, r.b, r.edit); err != nil {
		return err
	}
	return r.do(ctx, p)
}
