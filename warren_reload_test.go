package warren_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/dataplane/underlay/sim"
)

// reloadSite is a site of two whose file changes: parts of it stand in a map from which its text is made.
type reloadSite struct {
	self, peer int
	head, vrf  string
	tunnels    map[string]string
	rest       string
}

// text is the site's file. In the parts %[1]d is the own number and %[2]d the peer's.
func (s *reloadSite) text() string {
	var b strings.Builder
	b.WriteString(s.head)
	b.WriteString("vrfs:\n  main:\n")
	b.WriteString(s.vrf)
	b.WriteString("tunnels:\n")
	var names []string
	for name := range s.tunnels {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		b.WriteString("  " + name + ":\n" + s.tunnels[name])
	}
	b.WriteString(s.rest)
	return fmt.Sprintf(strings.ReplaceAll(b.String(), "%%", "%")+"# %[1]d %[2]d\n", s.self, s.peer)
}

func (s *reloadSite) config(t *testing.T) *warren.Config {
	t.Helper()
	cfg, err := warren.ParseConfig("site.yaml", []byte(s.text()))
	if err != nil {
		t.Fatalf("%v in\n%s", err, s.text())
	}
	return cfg
}

// apply has an engine be what the site's file says now.
func (s *reloadSite) apply(t *testing.T, e *warren.Engine) {
	t.Helper()
	if err := e.Apply(s.config(t)); err != nil {
		t.Fatal(err)
	}
}

// Tunnels of each kind to the networks 10.PEER.NET.0/24.
func byHand(net, spi int) string {
	key := func(who string) string {
		return fmt.Sprintf(`"0x0102030405060708090a0b0c0d0e0f101112%02x0%s"`, net, who)
	}
	return fmt.Sprintf(`
    ipsec:
      remote: 192.0.2.%%[2]d
      static: {esp: aes128gcm16, out: {spi: 0x%d%%[1]d, key: %s}, in: {spi: 0x%d%%[2]d, key: %s}}
    routes: [10.%%[2]d.%d.0/24]
`, spi, key("%[1]d"), spi, key("%[2]d"), net)
}

func byIKE(net int, more string) string {
	return fmt.Sprintf(`
    ipsec:
      remote: 192.0.2.%%[2]d
      psk: "PSK-OF-THE-TEST-%d"
      local_id: net%d.site%%[1]d
      remote_id: net%d.site%%[2]d
      proposals: aes256gcm16-prfsha384-ecp384
      start_action: trap
%s
    routes: [10.%%[2]d.%d.0/24]
`, net, net, net, more, net)
}

func byWireGuard(net int, public, own, port string) string {
	return fmt.Sprintf(`
    wireguard: {public_key: "%s", endpoint: "192.0.2.%%[2]d:%s"%s}
    routes: [10.%%[2]d.%d.0/24]
`, public, port, own, net)
}

// reloadSites are two sites with a tunnel of each kind, to the networks 1, 2 and 3 of the other one, and the keys with which WireGuard
// tunnels with a device of their own are made.
func reloadSites(t *testing.T) (sites [2]*reloadSite, private, public []string) {
	t.Helper()
	private, public = wgKeys(t, 4)
	for i := range sites {
		sites[i] = &reloadSite{self: i + 1, peer: 2 - i,
			head: "underlay: {addresses: [192.0.2.%[1]d]}\nwireguard: {private_key: \"" + private[i] + "\", listen_port: 51820}\n",
			vrf: `    port: {netstack: {addresses: [10.%[1]d.1.1/24, 10.%[1]d.2.1/24, 10.%[1]d.3.1/24, 10.%[1]d.4.1/24, 10.%[1]d.5.1/24, 10.%[1]d.6.1/24]}}
`,
			tunnels: map[string]string{"hand": byHand(1, 10), "ike": byIKE(2, ""), "wg": byWireGuard(3, public[1-i], "", "51820")}}
	}
	return sites, private, public
}

// startReload runs both and waits until they run.
func startReload(t *testing.T, sites [2]*reloadSite) (e [2]*warren.Engine) {
	t.Helper()
	network := sim.New(sim.Config{})
	for i, s := range sites {
		e[i], _ = startSite(t, network, strings.ReplaceAll(s.text(), "%", "%%")+"# %[1]d %[2]d %[3]s %[4]d\n", i)
	}
	eventually(t, "both engines run", patience, func() bool {
		return e[0].Status().State == "running" && e[1].Status().State == "running"
	})
	return e
}

// reached pings the address of the other site in a network from both sides.
func reached(t *testing.T, e [2]*warren.Engine, net int) {
	t.Helper()
	for i := range e {
		if err := ping(t, e[i], fmt.Sprintf("10.%d.%d.1", 2-i, net), patience); err != nil {
			t.Fatalf("network %d of the other site, from site %d: %v", net, i+1, err)
		}
	}
}

// identity is what of a tunnel changes when its SAs or its session do.
func identity(t *testing.T, e *warren.Engine, name string) string {
	t.Helper()
	s := tunnelStatus(t, e, name)
	id := fmt.Sprintf("%s %v ", s.State, s.Troubles)
	for _, c := range s.Children {
		id += c.SPIIn + "/" + c.SPIOut + " "
	}
	for _, k := range s.IKE {
		id += k.SPIInitiator + "/" + k.SPIResponder + " "
	}
	if s.WireGuard != nil {
		id += s.WireGuard.LastHandshake.String()
	}
	return id
}

// echoes sends datagrams one after the other through some networks until stop, and says how many were sent, and which had no answer.
func echoes(t *testing.T, e [2]*warren.Engine, nets ...int) (stop func() (sent int, lost []string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var mu sync.Mutex
	var sent int
	var lost []string
	for _, net := range nets {
		to := fmt.Sprintf("10.2.%d.1:7", net)
		pc, err := e[1].ListenPacket("udp", to)
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			buf := make([]byte, 100)
			for {
				n, from, err := pc.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = pc.WriteTo(buf[:n], from)
			}
		})
		c, err := e[0].DialContext(ctx, "udp", to)
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			defer pc.Close()
			defer c.Close()
			buf := make([]byte, 100)
			for i := 0; ctx.Err() == nil; i++ {
				text := fmt.Sprintf("network %d, packet %d", net, i)
				_, err := c.Write([]byte(text))
				_ = c.SetReadDeadline(time.Now().Add(patience))
				n := 0
				if err == nil {
					n, err = c.Read(buf)
				}
				mu.Lock()
				sent++
				if err != nil || string(buf[:n]) != text {
					lost = append(lost, fmt.Sprintf("%s: %q, %v", text, buf[:n], err))
				}
				mu.Unlock()
			}
		})
	}
	return func() (int, []string) {
		eventually(t, "packets pass, or none does", patience, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return sent >= 30 || len(lost) > 0
		})
		cancel()
		running.Wait()
		return sent, lost
	}
}

// TestApply: tunnels of each kind come, change and go in a running engine, and a tunnel of each kind beside them loses no packet and
// keeps its keys.
func TestApply(t *testing.T) {
	sites, private, public := reloadSites(t)
	e := startReload(t, sites)
	for net := 1; net <= 3; net++ {
		reached(t, e, net)
	}
	steady := []string{"hand", "ike", "wg"}
	var before [2][]string
	for i := range e {
		for _, name := range steady {
			before[i] = append(before[i], identity(t, e[i], name))
		}
	}
	stop := echoes(t, e, 1, 2, 3)
	both := func(change func(s *reloadSite, i int)) {
		for i, s := range sites {
			change(s, i)
			s.apply(t, e[i])
		}
	}
	// They come.
	own := func(i int, port string) string {
		return fmt.Sprintf(`, private_key: "%s", listen_port: %s`, private[2+i], port)
	}
	both(func(s *reloadSite, i int) {
		s.tunnels["hand2"] = byHand(4, 20)
		s.tunnels["ike2"] = byIKE(5, "")
		s.tunnels["wg2"] = byWireGuard(6, public[3-i], own(i, "51821"), "51821")
	})
	for net := 4; net <= 6; net++ {
		reached(t, e, net)
	}
	// They change.
	was := [3]string{identity(t, e[0], "hand2"), identity(t, e[0], "ike2"), identity(t, e[0], "wg2")}
	both(func(s *reloadSite, i int) {
		s.tunnels["hand2"] = byHand(4, 30)
		s.tunnels["ike2"] = byIKE(5, "      dpd_delay: 7s")
		s.tunnels["wg2"] = byWireGuard(6, public[3-i], own(i, "51822"), "51822")
	})
	for net := 4; net <= 6; net++ {
		reached(t, e, net)
	}
	for i, name := range []string{"hand2", "ike2", "wg2"} {
		if is := identity(t, e[0], name); is == was[i] {
			t.Errorf("%s was changed and is the same: %s", name, is)
		}
	}
	// They go.
	both(func(s *reloadSite, i int) {
		for _, name := range []string{"hand2", "ike2", "wg2"} {
			delete(s.tunnels, name)
		}
	})
	for i := range e {
		if n := len(e[i].Status().Tunnels); n != 3 {
			t.Errorf("%d tunnels are left, want 3", n)
		}
	}
	for net := 4; net <= 6; net++ {
		if err := ping(t, e[0], fmt.Sprintf("10.2.%d.1", net), 300*time.Millisecond); err == nil {
			t.Errorf("network %d is reached without a tunnel", net)
		}
	}
	sent, lost := stop()
	if len(lost) > 0 || sent < 30 {
		t.Errorf("of %d packets beside the changes %d are lost: %q", sent, len(lost), lost)
	}
	for i := range e {
		for j, name := range steady {
			if is := identity(t, e[i], name); is != before[i][j] {
				t.Errorf("engine %d, tunnel %s: was %s, is %s", i, name, before[i][j], is)
			}
		}
	}
}

// TestApplyRoutes: other routes and weights touch no SA and no session. What is new is refused where nothing leads to it, what is
// gone is not refused any more.
func TestApplyRoutes(t *testing.T) {
	sites, _, _ := reloadSites(t)
	e := startReload(t, sites)
	for net := 1; net <= 3; net++ {
		reached(t, e, net)
	}
	names := []string{"hand", "ike", "wg"}
	var before []string
	for _, name := range names {
		before = append(before, identity(t, e[0], name))
	}
	for i, s := range sites {
		for name, text := range s.tunnels {
			s.tunnels[name] = strings.Replace(text, "routes: [", "routes: [{prefix: 10.%[2]d.4.0/24, weight: 3}, ", 1)
		}
		s.apply(t, e[i])
	}
	reached(t, e, 4)
	var hops []string
	for _, r := range e[0].Routes(netip.MustParsePrefix("10.2.4.0/24")) {
		for _, h := range r.Hops {
			hops = append(hops, fmt.Sprint(h.Via, " ", h.Weight))
		}
	}
	slices.Sort(hops)
	if want := []string{"hand 3", "ike 3", "wg 3"}; !slices.Equal(hops, want) {
		t.Errorf("next hops %q, want %q", hops, want)
	}
	for i, name := range names {
		if is := identity(t, e[0], name); is != before[i] {
			t.Errorf("%s: was %s, is %s", name, before[i], is)
		}
	}
	explained := func() string { return explainTo(t, e[0], "10.2.4.1") }
	for i, s := range sites {
		delete(s.tunnels, "ike")
		delete(s.tunnels, "wg")
		s.apply(t, e[i])
	}
	if err := e[0].Down(t.Context(), "hand", ""); err != nil {
		t.Fatal(err)
	}
	if why := explained(); !strings.Contains(why, "unreachable") {
		t.Errorf("without its last tunnel the network is %s, want it to be refused", why)
	}
	sites[0].tunnels["hand"] = byHand(1, 10)
	sites[0].apply(t, e[0])
	if why := explained(); strings.Contains(why, "unreachable") {
		t.Errorf("the network is refused although nothing leads there any more: %s", why)
	}
}

// explainTo is the drop and its reason that a packet meets on its way.
func explainTo(t *testing.T, e *warren.Engine, to string) string {
	t.Helper()
	all, err := e.Explain("main", netip.MustParseAddr("10.1.1.1"), netip.MustParseAddr(to))
	if err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	return all[0].Drop + " " + all[0].Why
}

// TestApplyNeedsRestart: what cannot be changed is named, and nothing is applied; so is what is wrong.
func TestApplyNeedsRestart(t *testing.T) {
	sites, private, _ := reloadSites(t)
	s := sites[0]
	e := startReload(t, sites)[0]
	good := s.text()
	for _, c := range []struct{ from, to, key string }{
		{"192.0.2.1]", "192.0.2.1, 192.0.2.9]", "underlay.addresses"},
		{"underlay: {", "underlay: {udp_port: 4501, ", "underlay.udp_port"},
		{"underlay: {", "underlay: {mark: 5, ", "underlay.mark"},
		{"vrfs:", "workers: 2\nvrfs:", "workers"},
		{"vrfs:", "control: {socket: other.sock}\nvrfs:", "control.socket"},
		{"vrfs:", "key_export: keys\nvrfs:", "key_export"},
		{"10.1.6.1/24]", "10.1.7.1/24]", "vrfs.main.port"},
		{"vrfs:\n", "vrfs:\n  more: {}\n", "vrfs.more"},
		{"    port:", "    bgp: {local_as: 65001, router_id: 10.0.0.1}\n    port:", "vrfs.main.bgp"},
		{private[0], private[2], "wireguard.private_key"},
		{"51820}\nvrfs", "51829}\nvrfs", "wireguard.listen_port"},
	} {
		text := strings.Replace(strings.Replace(good, c.from, c.to, 1), "10.2.2.0/24", "10.2.9.0/24", 1)
		if strings.Contains(c.key, "more") {
			text = strings.ReplaceAll(text, "    routes:", "    vrf: main\n    routes:")
		}
		cfg, err := warren.ParseConfig("site.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%s: %v", c.key, err)
		}
		err = e.Apply(cfg)
		var restart *warren.RestartError
		if !errors.As(err, &restart) || !slices.Equal(restart.Keys, []string{c.key}) || !errors.Is(err, warren.ErrNeedsRestart) {
			t.Errorf("%s: %v", c.key, err)
		}
		if via, _ := leadsTo(e, "10.2.9.0/24"); via != "" {
			t.Fatalf("%s: the rest of it was applied", c.key)
		}
	}
	wrong := *s.config(t)
	wrong.Workers = -1
	var mistakes warren.ConfigErrors
	if err := e.Apply(&wrong); !errors.As(err, &mistakes) {
		t.Errorf("a wrong configuration: %v", err)
	}
	if err := e.Apply(s.config(t)); err != nil {
		t.Errorf("the same configuration: %v", err)
	}
}

// TestApplyWithoutSockets: a tunnel that wants sockets which the engine did not open when it began needs a restart.
func TestApplyWithoutSockets(t *testing.T) {
	sites, _, _ := reloadSites(t)
	s := sites[0]
	delete(s.tunnels, "ike")
	e := startReload(t, sites)[0]
	for _, c := range []struct{ text, key string }{
		{byIKE(2, ""), "tunnels.more.ipsec"},
		{strings.Replace(byHand(4, 20), "      static", "      encap: never\n      static", 1), "tunnels.more.ipsec.encap"},
	} {
		s.tunnels["more"] = c.text
		var restart *warren.RestartError
		if err := e.Apply(s.config(t)); !errors.As(err, &restart) || !slices.Equal(restart.Keys, []string{c.key}) {
			t.Errorf("%s: %v", c.key, err)
		}
	}
	s.tunnels["more"] = byHand(4, 20)
	s.apply(t, e)
}

// TestApplyToStopped: an engine that does not run starts with what was applied last.
func TestApplyToStopped(t *testing.T) {
	a, _ := twoSites()
	other := *a
	other.Workers = 3
	other.Tunnels = append(slices.Clone(a.Tunnels), a.Tunnels[0])
	more, _ := twoSites()
	ipsec := more.Tunnels[0].IPsec
	ipsec.Static.Out.SPI, ipsec.Static.Out.Key = 0x301, bytes.Repeat([]byte{3}, 20)
	ipsec.Static.In.SPI, ipsec.Static.In.Key = 0x402, bytes.Repeat([]byte{4}, 20)
	other.Tunnels[1].Name, other.Tunnels[1].IPsec = "more", ipsec
	e, err := warren.New(a, warren.WithNetwork(sim.New(sim.Config{})))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Apply(&other); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	eventually(t, "two tunnels", patience, func() bool { return len(e.Status().Tunnels) == 2 })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestApplyForwards: forwards come and go, those that stay keep their connections; one that cannot listen fails alone and is tried
// again.
func TestApplyForwards(t *testing.T) {
	sites, _, _ := reloadSites(t)
	listener := freeListener(t)
	taken, free := listener.Addr().String(), netip.AddrPortFrom(loopback(), freePort(t)).String()
	forward := func(listen string) string { return fmt.Sprintf("  - {listen: %q, to: \"10.2.1.1:7\"}\n", listen) }
	sites[0].rest = "forward:\n" + forward(free)
	e := startReload(t, sites)
	ln, err := e[1].Listen("tcp", "10.2.1.1:7")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	c := dialEcho(t, free)
	defer c.Close()
	sites[0].rest += forward(taken)
	if err := e[0].Apply(sites[0].config(t)); !errors.Is(err, warren.ErrPartlyApplied) || !strings.Contains(err.Error(), taken) {
		t.Errorf("a forward on a port that is taken: %v", err)
	}
	_ = listener.Close()
	sites[0].apply(t, e[0])
	dialEcho(t, taken).Close()
	sayAndHear(t, c)
	sites[0].rest = "forward:\n" + forward(taken)
	sites[0].apply(t, e[0])
	if fs := e[0].Status().Forwards; len(fs) != 1 || fs[0].Listen.String() != taken {
		t.Errorf("forwards %+v", fs)
	}
	if _, err := io.ReadAll(c); err != nil && !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("a connection of a forward that is gone: %v", err)
	}
}

// TestApplyWhileRunning: configurations that are applied at any moment, also while the engine begins and ends, harm nothing.
func TestApplyWhileRunning(t *testing.T) {
	sites, _, _ := reloadSites(t)
	few, many := sites[0].config(t), sites[0]
	many.tunnels["hand2"] = byHand(4, 20)
	many.tunnels["ike2"] = byIKE(5, "")
	more := many.config(t)
	e, err := warren.New(few, warren.WithNetwork(sim.New(sim.Config{})))
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		var all sync.WaitGroup
		for i := range 3 {
			all.Go(func() {
				for j := range 4 {
					cfg := few
					if (i+j)%2 == 0 {
						cfg = more
					}
					if err := e.Apply(cfg); err != nil && !errors.Is(err, warren.ErrNotUp) {
						t.Error(err)
					}
					e.Status()
					if i == 0 && j == 2 {
						cancel()
					}
				}
			})
		}
		all.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// dialEcho connects to who echoes, and sees that he does.
func dialEcho(t *testing.T, to string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	sayAndHear(t, c)
	return c
}

func sayAndHear(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	want, got := []byte("warren"), make([]byte, 6)
	if _, err := c.Write(want); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%q, %v", got, err)
	}
}

// TestApplyTemplate: a tunnel for whoever comes is added to a running engine, lets one in, and takes him away when it goes.
func TestApplyTemplate(t *testing.T) {
	sites, _, _ := reloadSites(t)
	hub := strings.Replace(byIKE(5, ""), "remote: 192.0.2.%[2]d", "remote: any", 1)
	hub = strings.Replace(hub, "      start_action: trap\n", "", 1)
	e := startReload(t, sites)
	reached(t, e, 2)
	before := identity(t, e[1], "ike")
	sites[1].tunnels["anyone"] = hub
	sites[1].apply(t, e[1])
	sites[0].tunnels["hub"] = byIKE(5, "")
	sites[0].apply(t, e[0])
	if err := ping(t, e[0], "10.2.5.1", patience); err != nil {
		t.Fatal(err)
	}
	clients := func() (n int) {
		for _, s := range e[1].Status().Tunnels {
			if s.Client != "" {
				n++
			}
		}
		return n
	}
	if n := clients(); n != 1 {
		t.Errorf("%d clients, want 1", n)
	}
	delete(sites[1].tunnels, "anyone")
	sites[1].apply(t, e[1])
	if n := clients(); n != 0 {
		t.Errorf("%d clients of a tunnel that is gone", n)
	}
	if is := identity(t, e[1], "ike"); is != before {
		t.Errorf("the other tunnel was %s, is %s", before, is)
	}
}
