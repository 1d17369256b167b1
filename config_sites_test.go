package warren

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren/routing/policy"
)

// TestDesignKeys: our own configurations have every key of the design's, so that a tree without those is tested as well.
func TestDesignKeys(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join("..", "shared", "design", "examples", "*.yaml"))
	if len(files) == 0 {
		t.Skip("the design's examples are not beside the tree")
	}
	var ours []string
	for _, pattern := range []string{"*.yaml", "*/*.yaml"} {
		own, err := filepath.Glob(filepath.Join("testdata", "config", "sites", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range own {
			ours = append(ours, keysOf(t, file)...)
		}
	}
	for _, file := range files {
		for _, key := range keysOf(t, file) {
			if !slices.Contains(ours, key) {
				t.Errorf("%s has %s, no file of testdata/config/sites has", filepath.Base(file), key)
			}
		}
	}
}

// keysOf are the keys of a file with those that they are in; whoever has a name of its own is *.
func keysOf(t *testing.T, file string) (keys []string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	root, err := parseYAML(newSource(file, 0, data), data)
	if err != nil {
		t.Fatal(err)
	}
	named := []string{"vrfs", "tunnels", "pools", "tunnels.*.ipsec.children"}
	var walk func(n *node, path string)
	walk = func(n *node, path string) {
		for _, e := range n.entries {
			key := e.key.text
			if slices.Contains(named, path) {
				key = "*"
			}
			key = strings.TrimPrefix(path+"."+key, ".")
			keys = append(keys, key)
			walk(e.value, key)
		}
		for _, item := range n.items {
			walk(item, path)
		}
	}
	walk(root, "")
	return keys
}

// loadSite reads a configuration of testdata/config/sites, which has the secrets that it names beside it.
func loadSite(t *testing.T, file string) (*Config, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "config", "sites"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "server.example"}, DNSNames: []string{"server.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	for name, data := range map[string][]byte{
		"site.psk": []byte(sitePSK + "\n"), "wg.key": []byte(siteWGKey + "\n"), "server.pem": certPEM, "ca.pem": certPEM,
		"server.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	} {
		if err := os.WriteFile(filepath.Join(dir, "secrets", name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return LoadConfig(filepath.Join(dir, file))
}

const (
	sitePSK   = "the secret of the sites"
	siteWGKey = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
)

func mustLoadSite(t *testing.T, file string) *Config {
	t.Helper()
	c, err := loadSite(t, file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// only is a policy of rules by source, which may have a device behind a space.
func only(sources ...string) *PolicyConfig {
	p := new(PolicyConfig)
	for _, s := range sources {
		from, device, _ := strings.Cut(s, " ")
		p.Rules = append(p.Rules, policy.Rule{From: from, Device: device})
	}
	return p
}

// siteRouting checks what gateway.yaml and wireguard.yaml share.
func siteRouting(t *testing.T, c *Config) {
	t.Helper()
	v := c.VRFs[0]
	equal(t, "port", v.Port.TUN, &TUNConfig{Name: "warren3", NetNS: "office"})
	equal(t, "AS and router ID", []any{v.BGP.LocalAS, v.BGP.RouterID}, []any{uint32(64601), netip.MustParseAddr("192.0.2.51")})
	equal(t, "hold time and multipath", []any{v.BGP.Session.HoldTime, v.BGP.Multipath}, []any{9 * time.Second, 4})
	equal(t, "BGP export", v.BGP.Export, only("kernel lan*"))
	equal(t, "BGP import", v.BGP.Import, &PolicyConfig{Word: "all"})
	equal(t, "kernel export", v.Kernel.Export, only("bgp", "connected"))
	equal(t, "kernel import", v.Kernel.Import, only(" lan*"))
	for i, addresses := range [][]netip.Prefix{prefixes("2001:db8:5f::/127", "169.254.51.0/31"), prefixes("2001:db8:5f::2/127", "169.254.51.2/31")} {
		tunnel := c.Tunnels[i]
		equal(t, "addresses of "+tunnel.Name, tunnel.Addresses, addresses)
		equal(t, "vrf and neighbour of "+tunnel.Name, []any{tunnel.VRF, tunnel.BGP.NeighborAS}, []any{"inside", uint32(64602)})
	}
}

func TestSiteGateway(t *testing.T) {
	c := mustLoadSite(t, "gateway.yaml")
	siteRouting(t, c)
	for i, tries := range []int{0, 3} {
		p := c.Tunnels[i].IPsec
		equal(t, "remote", p.Remote, netip.MustParseAddr([]string{"2001:db8:52::7", "2001:db8:52::8"}[i]))
		equal(t, "secret", string(p.IKE.PSK), sitePSK)
		equal(t, "proposals", p.IKE.Proposals, "aes128gcm16-prfsha256-curve25519")
		equal(t, "DPD and tries", []any{p.IKE.DPDDelay, p.IKE.KeyingTries}, []any{15 * time.Second, tries})
		if len(p.IKE.Children) != 1 {
			t.Fatalf("%d children, want 1", len(p.IKE.Children))
		}
		child := p.IKE.Children[0]
		equal(t, "child's proposals", child.Proposals, "aes128gcm16-curve25519")
		equal(t, "actions", []any{child.StartAction, child.DPDAction}, []any{StartTrap, EndRestart})
	}
}

func TestSiteWireGuard(t *testing.T) {
	c := mustLoadSite(t, "wireguard.yaml")
	siteRouting(t, c)
	equal(t, "key", base64.StdEncoding.EncodeToString(c.WireGuard.PrivateKey), siteWGKey)
	equal(t, "port", c.WireGuard.ListenPort, uint16(51900))
	for i, key := range []string{"Jixsag44W8CFkKCIvlLSZF86/Q/4BovkpqdB9Vps5Sk=", "hV1StKWfcC6Yx21xhFvoiXnWONjGHN1dFeibN737Wnc="} {
		p := c.Tunnels[i].WireGuard
		equal(t, "public key", p.PublicKey.String(), key)
		equal(t, "endpoint", p.Endpoint, EndpointConfig{Addr: netip.MustParseAddr([]string{"2001:db8:52::7", "2001:db8:52::8"}[i]), Port: 51900})
	}
	equal(t, "allowed IPs", c.Tunnels[1].AllowedIPs, prefixes("2001:db8:52a::/48", "2001:db8:5f::3/128", "169.254.51.3/32"))
}

func TestSiteClients(t *testing.T) {
	c := mustLoadSite(t, "clients.yaml")
	equal(t, "pools", c.Pools, []PoolConfig{{Name: "guests", Addresses: prefixes("10.61.0.0/22"),
		DNS: []netip.Addr{netip.MustParseAddr("10.60.0.2"), netip.MustParseAddr("2001:db8:60::2")}}})
	p := c.Tunnels[0].IPsec
	equal(t, "template with a pool", []any{p.RemoteAny, p.Remote, p.IKE.Pool}, []any{true, netip.Addr{}, "guests"})
	equal(t, "whom it takes", p.IKE.RemoteID, "*.guests.example")
	var names []string
	for _, file := range append([]string{p.IKE.Auth.Cert, p.IKE.Auth.Key}, p.IKE.Auth.CA...) {
		names = append(names, filepath.Base(file))
	}
	equal(t, "files", names, []string{"server.pem", "server.key", "ca.pem"})
	equal(t, "selectors", p.IKE.Children[0].LocalTS, []SelectorConfig{{Prefix: netip.MustParsePrefix("10.60.0.0/16")}, {Prefix: netip.MustParsePrefix("192.0.2.0/24")}})
	equal(t, "rekeying", p.IKE.Children[0].RekeyTime, time.Duration(0))
}

func TestSiteNetworks(t *testing.T) {
	c := mustLoadSite(t, "networks.yaml")
	equal(t, "kernel export", c.VRFs[0].Kernel.Export, only("ipsec"))
	if len(c.Tunnels) != 2 || c.Tunnels[0].Name != "depot" || c.Tunnels[1].Name != "yard" {
		t.Fatalf("tunnels %+v", c.Tunnels)
	}
	p := c.Tunnels[0].IPsec
	equal(t, "identities", []string{p.IKE.LocalID, p.IKE.RemoteID}, []string{"198.51.100.20", "depot.example"})
	equal(t, "secret", string(p.IKE.PSK), "a secret that is none")
	equal(t, "encap", p.Encap, EncapNever)
	equal(t, "times", []time.Duration{p.IKE.RekeyTime, p.IKE.DPDDelay}, []time.Duration{12 * time.Hour, 0})
	child := p.IKE.Children[0]
	equal(t, "child", []any{child.Proposals, child.RekeyTime, child.KeepUp}, []any{"aes256-sha1-modp3072", 45 * time.Minute, 90 * time.Second})
	equal(t, "networks", child.RemoteTS, []SelectorConfig{{Prefix: netip.MustParsePrefix("10.62.0.0/24")}, {Prefix: netip.MustParsePrefix("10.62.4.0/22")}})
	yard := c.Tunnels[1].IPsec.IKE
	equal(t, "secret of an included file", string(yard.PSK), sitePSK)
	equal(t, "children", []string{yard.Children[0].Name, yard.Children[1].Name}, []string{"office", "cameras"})
	equal(t, "a child's own", []any{yard.Children[1].Proposals, yard.Children[1].LocalTS}, []any{"aes128gcm16-curve25519",
		[]SelectorConfig{{Prefix: netip.MustParsePrefix("10.60.8.0/24")}}})
}

func TestSiteHost(t *testing.T) {
	lan := mustLoadSite(t, "lan.yaml").VRFs[0].BGP
	equal(t, "addresses", lan.Addresses, []netip.Addr{netip.MustParseAddr("10.64.0.9"), netip.MustParseAddr("2001:db8:64::9")})
	n := lan.Neighbors[0]
	equal(t, "neighbour", []any{n.Address, n.NeighborAS}, []any{netip.MustParseAddr("10.64.0.1"), uint32(64665)})
	equal(t, "policies", []*PolicyConfig{n.Import, n.Export}, []*PolicyConfig{{Word: "all"}, only("bgp")})

	own := mustLoadSite(t, "interface.yaml")
	equal(t, "vrf of the tunnel's own", own.VRFs, []VRFConfig{{Name: "harbour-2", ofTunnel: true,
		Port: PortConfig{TUN: &TUNConfig{Name: "ipsec7", NetNS: "office", MTU: 1420, Addresses: prefixes("2001:db8:5f::2/127")}}}})
	equal(t, "its tunnel", own.Tunnels[0].VRF, "harbour-2")

	service := mustLoadSite(t, "service.yaml")
	equal(t, "stack", service.VRFs[0].Port.Netstack.Addresses, prefixes("10.65.0.3/32", "fd00:65::3/128"))
	hub := service.Tunnels[0].WireGuard
	equal(t, "hub", []any{hub.Endpoint, hub.PersistentKeepalive}, []any{EndpointConfig{Name: "hub.guests.example", Port: 51900}, 20 * time.Second})
	var forwards []string
	for _, f := range service.Forwards {
		forwards = append(forwards, f.Listen.String()+" "+f.To)
	}
	equal(t, "forwards", forwards, []string{"127.0.0.1:9080 10.60.1.5:80", "10.65.0.3:2222 127.0.0.1:22"})

	keys := mustLoadSite(t, "keys.yaml")
	static := keys.Tunnels[0].IPsec.Static
	equal(t, "port and suite", []any{keys.Underlay.UDPPort, static.Suite, filepath.Base(static.StateFile)}, []any{uint16(4510), "aes256gcm16", "depot.iv"})
	equal(t, "SPIs", []uint32{static.Out.SPI, static.In.SPI}, []uint32{0x2001, 0x2002})
}

// TestSiteLater: each key that the design has and this version has not is refused, once and by its name, and nothing beside it.
func TestSiteLater(t *testing.T) {
	_, err := loadSite(t, "later.yaml")
	var all ConfigErrors
	if !errors.As(err, &all) {
		t.Fatalf("%v, want ConfigErrors", err)
	}
	var keys []string
	for _, e := range all {
		keys = append(keys, e.Key)
		if !strings.Contains(e.Problem, "not supported yet by this version") {
			t.Error(e)
		}
	}
	slices.Sort(keys)
	equal(t, "refused", keys, []string{"tunnels.cloud-gre.gre", "tunnels.cloud-gre.multicast", "tunnels.cloud.snat"})
}
