//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/bench/lab"
)

// examples is where the design's examples are, beside the repository.
const examples = "../../../shared/design/examples"

// example reads one of the design's configurations; without them the test is skipped.
func example(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(examples, name))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("the design's examples are not there: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// roadwarrior is a client: a charon that asks for an address.
type roadwarrior struct {
	*lab.Host
	charon *lab.StrongSwan
	vip    string
}

// roadwarriors is the laboratory of the design's roadwarriors.yaml: the server, and clients that come from anywhere.
type roadwarriors struct {
	*swan
	pki     *pki
	clients []*roadwarrior
}

const clientConf = `connections { home {
version = 2
remote_addrs = 1.2.3.4
vips = 0.0.0.0
encap = yes
local { auth = pubkey
certs = client.pem
id = %s }
remote { auth = pubkey
id = %q }
children { net {
local_ts = dynamic
remote_ts = 0.0.0.0/0 } } } }
`

func newRoadwarriors(t *testing.T, names ...string) *roadwarriors {
	t.Helper()
	text := example(t, "roadwarriors.yaml")
	l := lab.ForTest(t, append(lab.StrongSwanPrograms, "ping")...)
	s := &swan{t: t, lab: l, program: build(t), dir: t.TempDir()}
	s.ctx = limit(t)
	r := &roadwarriors{swan: s, pki: newPKI(t)}
	street := s.host("street")
	s.must(street.IP("link", "add", "br0", "type", "bridge"))
	s.must(street.IP("link", "set", "br0", "up"))
	s.a = s.host("server")
	s.plug(street, s.a, "1.2.3.4/24")
	server := r.pki.leaf(&r.pki.root, "server.example.org", newKey(t, "p256"))
	s.file("server.pem", server.cert)
	s.file("server.key", server.key)
	s.file("ca.pem", r.pki.root.pem())
	s.startConfig(text)
	for i, name := range names {
		c := &roadwarrior{Host: s.host(fmt.Sprintf("c%d", i))}
		s.plug(street, c.Host, fmt.Sprintf("1.2.3.%d/24", 10+i))
		var err error
		c.charon, err = c.StartStrongSwan(s.ctx, "")
		s.must(err)
		id := r.pki.leaf(&r.pki.root, name, newKey(t, "p256"))
		for file, data := range map[string][]byte{"x509ca/root.pem": r.pki.root.pem(), "x509/client.pem": id.cert, "private/client.key": id.key} {
			s.must(c.charon.WriteFile(file, data))
		}
		// Half of them know the server by its name, the others by its certificate's subject.
		serverID := []string{"server.example.org", "O=Laboratory, CN=server.example.org"}[i%2]
		s.must(os.WriteFile(c.charon.ConfigPath(), fmt.Appendf(nil, clientConf, name, serverID), 0o600))
		s.must(c.charon.Load(s.ctx))
		r.clients = append(r.clients, c)
	}
	return r
}

func (s *swan) host(name string) *lab.Host {
	s.t.Helper()
	h, err := s.lab.Host(name)
	s.must(err)
	return h
}

// plug joins a host to a bridge.
func (s *swan) plug(bridge, h *lab.Host, addr string) {
	s.t.Helper()
	s.must(s.lab.Connect(lab.Link{A: bridge, B: h, DevA: "to" + h.Name, DevB: "eth0", AddrsB: []string{addr}}))
	s.must(bridge.IP("link", "set", "to"+h.Name, "master", "br0"))
}

// instances are the server's tunnels.
func (r *roadwarriors) instances(ctx context.Context) ([]warren.TunnelStatus, error) {
	st, err := r.client.Status(ctx)
	if err != nil {
		return nil, err
	}
	return st.Tunnels, nil
}

var virtualIP = regexp.MustCompile(`installing new virtual IP (\S+)`)

// comes brings a client up.
func (r *roadwarriors) comes(c *roadwarrior) {
	r.t.Helper()
	r.must(c.charon.Initiate(r.ctx, "net"))
	all := virtualIP.FindAllStringSubmatch(c.charon.Log(), -1)
	if len(all) == 0 {
		r.t.Fatalf("no address: %s", c.charon.Log())
	}
	c.vip = all[len(all)-1][1]
}

// hasRoute says whether there is a host route to a client.
func (r *roadwarriors) hasRoute(vip string) error {
	routes, err := r.client.Routes(r.ctx, vip)
	if err != nil {
		return err
	}
	for _, route := range routes {
		if route.Prefix.String() == vip+"/32" && len(route.Hops) == 1 && route.Hops[0].Kind == "tunnel" {
			return nil
		}
	}
	return fmt.Errorf("%+v", routes)
}

// TestRoadwarriors: the design's server for clients from anywhere, as written, with strongSwan as the clients.
func TestStrongSwanRoadwarriors(t *testing.T) {
	r := newRoadwarriors(t, "anna.example.org", "bert.example.org", "carl.example.org")
	defer r.stop()
	if out, err := r.a.Run(r.ctx, "ip", "-br", "addr", "show", "dev", "roadwarriors"); err != nil || !strings.Contains(out, "10.0.1.254/24") {
		t.Fatalf("the interface is not there before the first client: %v %s", err, out)
	}
	addresses := map[string]bool{}
	for _, c := range r.clients {
		r.comes(c)
		if addresses[c.vip] || c.vip == "10.0.1.254" || !strings.HasPrefix(c.vip, "10.0.1.") {
			t.Errorf("address %s of %v", c.vip, addresses)
		}
		addresses[c.vip] = true
		r.must(r.hasRoute(c.vip))
		for h, dst := range map[*lab.Host]string{c.Host: "10.0.1.254", r.a: c.vip} {
			r.must(h.WaitReachable(r.ctx, dst))
		}
	}
	// Clients reach each other through the server.
	r.must(r.clients[0].WaitReachable(r.ctx, r.clients[1].vip, "-I", r.clients[0].vip))
	instances, err := r.instances(r.ctx)
	r.must(err)
	for i, in := range instances {
		if !strings.Contains(in.Client, ".example.org") || len(in.IKE) != 1 || len(in.IKE[0].Leased) != 1 || in.State != "up" {
			t.Errorf("instance %d: %+v", i, in)
		}
	}
	if len(instances) != 3 {
		t.Errorf("%d instances", len(instances))
	}
	r.comeAndGo()
	r.strangers()
}

// comeAndGo: who leaves takes his route along, and gets the same address when he comes again.
func (r *roadwarriors) comeAndGo() {
	gone := r.clients[1]
	before := gone.vip
	_, err := gone.charon.Ctl(r.ctx, "--terminate", "--ike", "home")
	r.must(err)
	r.eventually("the route of the client that left to go", func() error {
		if r.hasRoute(before) == nil {
			return errors.New("it is there")
		}
		return nil
	})
	r.must(r.clients[2].WaitReachable(r.ctx, "10.0.1.254"))
	r.comes(gone)
	if gone.vip != before {
		r.t.Errorf("address %s, before %s", gone.vip, before)
	}
	r.must(gone.WaitReachable(r.ctx, "10.0.1.254"))
	// The client rekeys what the server does not.
	for _, what := range [][]string{{"--rekey", "--child", "net"}, {"--rekey", "--ike", "home"}, {"--rekey", "--ike", "home", "--reauth"}} {
		_, err := gone.charon.Ctl(r.ctx, what...)
		r.must(err)
		r.must(gone.WaitReachable(r.ctx, "10.0.1.254"))
		r.must(r.a.WaitReachable(r.ctx, before))
	}
	r.eventually("one instance for each client", func() error {
		all, err := r.instances(r.ctx)
		if err == nil && len(all) != len(r.clients) {
			err = fmt.Errorf("%+v", all)
		}
		return err
	})
}

// strangers: a client whose name is not among those that are let in is told so in our log, and leaves nothing.
func (r *roadwarriors) strangers() {
	c := r.clients[0]
	_, err := c.charon.Ctl(r.ctx, "--terminate", "--ike", "home")
	r.must(err)
	id := r.pki.leaf(&r.pki.root, "eve.example.com", newKey(r.t, "p256"))
	r.must(c.charon.WriteFile("x509/client.pem", id.cert))
	r.must(c.charon.WriteFile("private/client.key", id.key))
	r.must(os.WriteFile(c.charon.ConfigPath(), fmt.Appendf(nil, clientConf, "eve.example.com", "server.example.org"), 0o600))
	r.must(c.charon.Load(r.ctx))
	if _, err := c.charon.Ctl(r.ctx, "--initiate", "--child", "net", "--timeout", "20"); err == nil {
		r.t.Error("a stranger came in")
	}
	r.eventuallyLog(0, []string{"eve.example.com", "*.example.org"})
	r.eventually("one instance for each client that is let in", func() error {
		all, err := r.instances(r.ctx)
		if err == nil && len(all) != len(r.clients)-1 {
			err = fmt.Errorf("%+v", all)
		}
		return err
	})
}
