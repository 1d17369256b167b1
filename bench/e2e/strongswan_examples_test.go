//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warrenvpn/warren"
	"github.com/warrenvpn/warren/bench/lab"
)

// written is how a configuration is run as it is written: where it names files below /etc and network namespaces, the program
// finds them there, in a mount namespace of its own.
type written struct {
	etc    map[string]string    // files, by their path below /etc
	netns  map[string]*lab.Host // by the name that the configuration has for them
	beside map[string]string    // files beside the configuration
}

// inMounts is run by sh(1); ip-netns(8) has given it a mount namespace, whose mounts nobody else sees.
const inMounts = `set -e
dir=$1 program=$2 socket=$3 conf=$4; shift 4
for pair; do : >"$dir/netns/${pair%%=*}"; mount --bind "/run/netns/${pair#*=}" "$dir/netns/${pair%%=*}"; done
mount --rbind "$dir/netns" /run/netns
mount --bind "$dir/etc" /etc
exec "$program" run --socket "$socket" "$conf"
`

// A gate is a warren of a laboratory with several.
type gate struct {
	*lab.Process
	client *warren.Client
}

// asWritten starts warren on a host with a configuration as it is written.
func (s *swan) asWritten(h *lab.Host, conf string, w written) *gate {
	s.t.Helper()
	dir := filepath.Join(s.dir, h.Name)
	s.must(os.MkdirAll(filepath.Join(dir, "netns"), 0o700))
	s.must(os.MkdirAll(filepath.Join(dir, "etc"), 0o700))
	for name, text := range w.etc {
		s.write(filepath.Join(dir, "etc", name), text)
	}
	for name, text := range w.beside {
		s.write(filepath.Join(dir, name), text)
	}
	path, socket := filepath.Join(dir, "warren.yaml"), filepath.Join(dir, "sock")
	s.write(path, conf)
	args := []string{"-c", inMounts, "sh", dir, s.program, socket, path}
	for name, inside := range w.netns {
		args = append(args, name+"="+inside.Namespace)
	}
	p, err := h.Start("sh", args...)
	s.must(err)
	g := &gate{Process: p, client: warren.NewClient(socket)}
	s.t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			s.t.Error(err)
		}
		if s.t.Failed() {
			s.t.Logf("warren on %s:\n%s", h.Name, p.Log())
		}
	})
	s.must(p.Wait(s.ctx, "the engine to answer", func() error {
		_, err := g.client.Status(s.ctx)
		return err
	}))
	return g
}

func (s *swan) write(path, text string) {
	s.t.Helper()
	s.must(os.MkdirAll(filepath.Dir(path), 0o700))
	s.must(os.WriteFile(path, []byte(text), 0o600))
}

// newField is a laboratory with a street that joins hosts.
func newField(t *testing.T, programs ...string) (s *swan, street *lab.Host) {
	t.Helper()
	s = &swan{t: t, lab: lab.ForTest(t, append(programs, "ping", "sysctl")...), program: build(t), dir: t.TempDir()}
	s.ctx = limit(t)
	street = s.host("street")
	s.must(street.IP("link", "add", "br0", "type", "bridge"))
	s.must(street.IP("link", "set", "br0", "up"))
	return s, street
}

// forward has a host pass packets on.
func (s *swan) forward(h *lab.Host) {
	s.t.Helper()
	for _, key := range []string{"net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"} {
		_, err := h.Run(s.ctx, "sysctl", "-q", "-w", key)
		s.must(err)
	}
}

// behind makes a host in the network behind a gateway.
func (s *swan) behind(gateway *lab.Host, name, dev, gatewayAddr, addr string) *lab.Host {
	s.t.Helper()
	h := s.host(name)
	s.must(s.lab.Connect(lab.Link{A: gateway, B: h, DevA: dev, AddrsA: []string{gatewayAddr}, AddrsB: []string{addr}}))
	s.must(h.IP("route", "add", "default", "via", strings.Split(gatewayAddr, "/")[0]))
	return h
}

// otherVPN is a file of vpn.d.
const otherVPN = `tunnels:
  branch:
    ipsec:
      remote: 198.51.100.7
      local_id: 192.0.2.254
      remote_id: branch.example
      psk: "` + secret + `"
      child: {local_ts: [203.0.113.0/25], remote_ts: [10.7.0.0/16]}
`

// TestStrongSwanPolicy: the design's policy.yaml as written, with a second VPN in vpn.d. Its own peer has NAT traversal turned off,
// which charon's userspace ESP cannot do, so that it is another warren; the peer of the second VPN is charon.
func TestStrongSwanPolicy(t *testing.T) {
	text := example(t, "policy.yaml")
	s, street := newField(t, lab.StrongSwanPrograms...)
	gw1, gw2, branch := s.host("gw1"), s.host("gw2"), s.host("branch")
	s.forward(gw1)
	s.forward(gw2)
	s.plug(street, gw1, "192.0.2.254/24")
	s.plug(street, gw2, "198.51.100.254/24")
	s.plug(street, branch, "198.51.100.7/24")
	for _, h := range []*lab.Host{gw2, branch} {
		s.must(h.IP("route", "add", "192.0.2.0/24", "dev", "eth0"))
	}
	s.must(gw1.IP("route", "add", "198.51.100.0/24", "dev", "eth0"))
	near := s.behind(gw1, "near", "lan0", "203.0.113.126/25", "203.0.113.5/25")
	far1 := s.behind(gw2, "far1", "lan0", "203.0.113.190/26", "203.0.113.130/26")
	far2 := s.behind(gw2, "far2", "lan1", "203.0.113.254/26", "203.0.113.200/26")

	s.must(branch.AddAddress("lo", "10.7.0.1/32"))
	charon, err := branch.StartStrongSwan(s.ctx, `connections { hq {
version = 2
local_addrs = 198.51.100.7
remote_addrs = 192.0.2.254
encap = yes
local { auth = psk
id = branch.example }
remote { auth = psk
id = 192.0.2.254 }
children { net {
local_ts = 10.7.0.0/16
remote_ts = 203.0.113.0/25 } } } }
secrets { ike-hq { secret = "`+secret+`" } }
`)
	s.must(err)
	one := s.asWritten(gw1, text, written{beside: map[string]string{"vpn.d/branch.yaml": otherVPN}})
	mirror := strings.NewReplacer("include: [vpn.d/*.yaml]", "", "[192.0.2.254]", "[198.51.100.254]", "gw2:", "gw1:",
		"remote: 198.51.100.254", "remote: 192.0.2.254", "local_id: 192.0.2.254", "local_id: 198.51.100.254", "remote_id: 198.51.100.254", "remote_id: 192.0.2.254",
		"local_ts:", "remote_ts:", "remote_ts:", "local_ts:").Replace(text)
	s.asWritten(gw2, mirror, written{})

	// Every network reaches every other one: the first packet starts what is not up.
	for _, way := range []struct {
		from *lab.Host
		dst  string
	}{{near, "203.0.113.130"}, {near, "203.0.113.200"}, {far1, "203.0.113.5"}, {far2, "203.0.113.5"}, {near, "10.7.0.1"}, {branch, "203.0.113.5"}} {
		r, err := way.from.Ping(s.ctx, way.dst, 3)
		if err != nil || r.Received != 3 {
			t.Errorf("from %s to %s: %v %s", way.from.Name, way.dst, err, r.Output)
		}
	}
	st, err := one.client.Status(s.ctx)
	s.must(err)
	for _, tun := range st.Tunnels {
		switch {
		case tun.Name == "gw2" && (tun.Encap != "esp" || tun.Children[0].Suite != "aes256-sha1" || len(tun.Children) != 1 || len(tun.Children[0].RemoteTS) != 2 || tun.IKE[0].Suite != "aes256-sha256-modp4096"),
			tun.Name == "branch" && (tun.Encap != "udp" || len(established(&tun)) != 1), len(st.Tunnels) != 2:
			t.Errorf("%+v", tun)
		}
	}
	// What no selector covers stays here.
	if r, err := near.Ping(s.ctx, "198.51.100.254", 1, "-W", "1"); err == nil && r.Received > 0 {
		t.Error("a packet that is in no selector came back")
	}
	if sas, err := charon.Ctl(s.ctx, "--list-sas"); err != nil || strings.Count(sas, "INSTALLED") != 1 {
		t.Errorf("%v %s", err, sas)
	}
}

// TestStrongSwanInterfacePerTunnel: the design's interface-per-tunnel.yaml as written. What enters vti6 comes out at charon, and the
// other way around.
func TestStrongSwanInterfacePerTunnel(t *testing.T) {
	text := example(t, "interface-per-tunnel.yaml")
	s, street := newField(t, append(lab.StrongSwanPrograms, "tcpdump")...)
	ours, private, theirs := s.host("v11"), s.host("private"), s.host("v32")
	s.plug(street, ours, "2001:db8:1::1/32")
	s.plug(street, theirs, "2001:db8:3::2/32")
	charon, err := theirs.StartStrongSwan(s.ctx, fmt.Sprintf(peerOfSite, "2001:db8:3::2", "2001:db8:1::1", secret))
	s.must(err)
	s.must(theirs.AddAddress("ipsec0", "2001:db8:ff::7/127"))
	s.asWritten(ours, text, written{etc: map[string]string{"warren/site.psk": secret + "\n"}, netns: map[string]*lab.Host{"private": private}})
	capture, err := private.Capture(s.ctx, "vti6", "icmp6")
	s.must(err)
	defer capture.Stop()
	if r, err := private.Ping(s.ctx, "2001:db8:ff::7", 3); err != nil || r.Received != 3 {
		t.Errorf("the first packets: %v %s", err, r.Output)
	}
	s.must(theirs.WaitReachable(s.ctx, "2001:db8:ff::6", "-I", "2001:db8:ff::7"))
	s.must(capture.Stop())
	if out, err := private.Run(s.ctx, "tcpdump", "-nr", capture.Path()); err != nil || !strings.Contains(out, "2001:db8:ff::6 > 2001:db8:ff::7: ICMP6, echo request") {
		t.Errorf("vti6 does not show the clear side: %v %s", err, out)
	}
	if sas, err := charon.Ctl(s.ctx, "--list-sas"); err != nil || !strings.Contains(sas, "AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384") {
		t.Errorf("%v %s", err, sas)
	}
}

// peerOfSite is a charon at the other end of a tunnel of a site: its address, the site's, and the secret.
const peerOfSite = `connections { site {
version = 2
local_addrs = %s
remote_addrs = %s
encap = yes
proposals = aes256gcm16-prfsha384-ecp384
local { auth = psk }
remote { auth = psk }
children { net {
local_ts = 0.0.0.0/0, ::/0
remote_ts = 0.0.0.0/0, ::/0
esp_proposals = aes256gcm16-ecp384 } } } }
secrets { ike-site { secret = "%s" } }
`
