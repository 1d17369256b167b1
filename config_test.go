package warren

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func mustLoad(t *testing.T, file string) *Config {
	t.Helper()
	c, err := LoadConfig(filepath.Join("testdata", "config", file))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func count(n int) Secret {
	key := make(Secret, n)
	for i := range key {
		key[i] = byte(i + 1)
	}
	return key
}

func prefixes(texts ...string) (ps []netip.Prefix) {
	for _, s := range texts {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

// equal compares what was read with what was meant, without showing secrets.
func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

func TestConfigWithTUN(t *testing.T) {
	c := mustLoad(t, "tun-netns.yaml")
	equal(t, "underlay", c.Underlay, UnderlayConfig{
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8:1::1")},
		UDPPort:   4501, Device: "eth0", Mark: 0x20, NetNS: "outside",
	})
	equal(t, "workers", c.Workers, 2)
	equal(t, "level", c.LogLevel(), slog.LevelDebug)
	equal(t, "socket", c.ControlSocket(), filepath.Join("testdata", "config", "run", "warren.sock"))
	equal(t, "vrfs", c.VRFs, []VRFConfig{
		{Name: "private", Port: PortConfig{TUN: &TUNConfig{Name: "warren0", NetNS: "private", MTU: 1400, Queues: 4,
			Addresses: prefixes("10.1.0.1/16", "2001:db8:a1::1/64"), Routes: prefixes("10.9.0.0/16")}}},
		{Name: "empty"},
		{Name: "c", Port: PortConfig{TUN: &TUNConfig{Name: "vti1", Addresses: prefixes("169.254.2.0/31")}}, ofTunnel: true},
	})
	if len(c.Tunnels) != 2 {
		t.Fatalf("%d tunnels, want 2", len(c.Tunnels))
	}
	b := c.Tunnels[0]
	p, static := *b.IPsec, *b.IPsec.Static
	b.IPsec, p.Static = nil, nil
	equal(t, "tunnel", b, TunnelConfig{Name: "b", VRF: "private", MTU: 1380, MSSClamp: MSSClampAuto, Addresses: prefixes("169.254.1.0/31"),
		Routes: []RouteConfig{{netip.MustParsePrefix("10.2.0.0/16"), 1}, {netip.MustParsePrefix("10.3.0.0/16"), 3}}})
	net2 := netip.MustParsePrefix("10.2.0.0/16")
	equal(t, "ipsec", p, IPsecConfig{
		Remote: netip.MustParseAddr("192.0.2.2"), RemotePort: 4502, Local: netip.MustParseAddr("192.0.2.1"),
		Encap: EncapAlways, DF: DFClear, ReplayWindow: 64, Keepalive: 30 * time.Second,
		Child: ChildConfig{LocalTS: []SelectorConfig{{Prefix: netip.MustParsePrefix("10.1.0.0/16")}}, RemoteTS: []SelectorConfig{
			{net2, 6, 80, 80}, {net2, 17, 0, 0}, {net2, 6, 1000, 2000}, {Prefix: netip.MustParsePrefix("2001:db8::1/128")},
			{Prefix: netip.MustParsePrefix("10.3.0.0/16"), Proto: 89},
		}},
	})
	all := count(96)
	equal(t, "static", static, StaticConfig{Suite: "aes256-sha256", ESN: true,
		Out: SAConfig{0xc1890b6e, append(count(32), count(32)...)}, In: SAConfig{3475253942, all[32:]}})

	own := c.Tunnels[1]
	equal(t, "vrf of the tunnel's own", own.VRF, "c")
	equal(t, "routes of the tunnel's own", own.Routes, []RouteConfig{{everything[0], 1}, {everything[1], 1}})
	if own.Port != nil {
		t.Error("the port is still at the tunnel, and in its vrf")
	}
	equal(t, "state file", own.IPsec.Static.StateFile, filepath.Join("testdata", "config", "tunnels.d", "c.iv"))
	equal(t, "default of the file in an included one", own.IPsec.ReplayWindow, 2048)
}

func TestConfigWithNetstack(t *testing.T) {
	c := mustLoad(t, "netstack.yaml")
	equal(t, "vrfs", c.VRFs, []VRFConfig{{Name: "main", Port: PortConfig{Netstack: &NetstackConfig{MTU: 1280, Forwarding: true,
		Addresses: prefixes("10.9.0.7/32", "fd00:9::7/128"), Routes: prefixes("10.8.0.0/16")}}}})
	equal(t, "port", c.Underlay.UDPPort, uint16(DefaultUDPPort))
	equal(t, "level", c.LogLevel(), slog.LevelInfo)
	equal(t, "socket", c.ControlSocket(), DefaultSocket())
	h := c.Tunnels[0]
	equal(t, "the only vrf", h.VRF, "main")
	equal(t, "clamp", h.MSSClamp, 1300)
	p := *h.IPsec
	p.Static = nil
	equal(t, "ipsec", p, IPsecConfig{Remote: netip.MustParseAddr("192.0.2.2"), RemotePort: DefaultUDPPort, Encap: EncapNever, DF: DFSet,
		ReplayWindow: DefaultReplayWindow})
	var texts []string
	for _, w := range c.Warnings {
		texts = append(texts, w.String())
	}
	all := strings.Join(texts, "\n")
	for _, want := range []string{"netstack.yaml:12:9: tunnels.hub.ipsec.static: keys given by hand lose replay protection", "without a state_file"} {
		if !strings.Contains(all, want) {
			t.Errorf("no warning %q in\n%s", want, all)
		}
	}
}

// good is a configuration that tests spoil.
func good() *Config {
	p := DefaultIPsec()
	p.Remote = netip.MustParseAddr("192.0.2.2")
	p.Static = &StaticConfig{Suite: "aes128gcm16", Out: SAConfig{256, count(20)}, In: SAConfig{256, count(21)[1:]}}
	return &Config{
		Underlay: UnderlayConfig{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
		VRFs:     []VRFConfig{{Name: "main"}},
		Tunnels:  []TunnelConfig{{Name: "b", IPsec: &p, Routes: []RouteConfig{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}}},
	}
}

func TestValidateChangesNothing(t *testing.T) {
	c, same := good(), good()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	equal(t, "after Validate", c, same)
	full := c.withDefaults()
	equal(t, "after withDefaults", c, same)
	equal(t, "vrf", full.Tunnels[0].VRF, "main")
	equal(t, "port", full.Underlay.UDPPort, uint16(DefaultUDPPort))
	equal(t, "weight", full.Tunnels[0].Routes[0].Weight, 1)
	c.Tunnels[0].IPsec.RemotePort = 0
	equal(t, "remote port", c.withDefaults().Tunnels[0].IPsec.RemotePort, uint16(DefaultUDPPort))
	if err := new(Config).Validate(); err != nil {
		t.Errorf("an empty configuration: %v", err)
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(c *Config, t *TunnelConfig, p *IPsecConfig, s *StaticConfig)
		want  string
	}{
		{"no name", func(c *Config, t *TunnelConfig, _ *IPsecConfig, _ *StaticConfig) { t.Name = "" }, "tunnels.: the tunnel has no name"},
		{"same name", func(c *Config, t *TunnelConfig, _ *IPsecConfig, _ *StaticConfig) {
			c.VRFs = append(c.VRFs, c.VRFs[0])
			t.VRF = "main"
		}, `vrfs.main: there is another vrf of the name "main"`},
		{"no vrf", func(c *Config, _ *TunnelConfig, _ *IPsecConfig, _ *StaticConfig) { c.VRFs = nil }, "tunnels.b.vrf: there is no vrf for the tunnel"},
		{"port and vrf of the same name", func(c *Config, t *TunnelConfig, _ *IPsecConfig, _ *StaticConfig) {
			t.Name, t.Port = "main", &PortConfig{TUN: &TUNConfig{Name: "t0"}}
		}, "tunnels.main.port: the port makes a vrf"},
		{"empty port", func(c *Config, t *TunnelConfig, _ *IPsecConfig, _ *StaticConfig) { t.Port = new(PortConfig) }, "tunnels.b.port: the port is of no kind"},
		{"same device", func(c *Config, t *TunnelConfig, _ *IPsecConfig, _ *StaticConfig) {
			c.VRFs[0].Port.TUN = &TUNConfig{Name: "t0"}
			t.Port = &PortConfig{TUN: &TUNConfig{Name: "t0"}}
		}, `tunnels.b.port.tun: device "t0" is that of vrfs.main.port already`},
		{"device name", func(c *Config, _ *TunnelConfig, _ *IPsecConfig, _ *StaticConfig) { c.Underlay.Device = "a/b" }, "underlay.device: "},
		{"mapped address", func(c *Config, _ *TunnelConfig, p *IPsecConfig, _ *StaticConfig) {
			p.Remote = netip.MustParseAddr("::ffff:192.0.2.2")
			c.Underlay.Addresses = nil
		}, "IPv6 clothes; want 192.0.2.2"},
		{"multicast", func(_ *Config, _ *TunnelConfig, p *IPsecConfig, _ *StaticConfig) {
			p.Remote = netip.MustParseAddr("224.0.0.1")
		}, "tunnels.b.ipsec.remote: 224.0.0.1 is a multicast"},
		{"no remote", func(_ *Config, _ *TunnelConfig, p *IPsecConfig, _ *StaticConfig) { p.Remote = netip.Addr{} }, "tunnels.b.ipsec.remote: the peer's address is missing"},
		{"other family", func(_ *Config, _ *TunnelConfig, p *IPsecConfig, _ *StaticConfig) {
			p.Remote = netip.MustParseAddr("::2")
		}, "cannot be reached from any of"},
		{"foreign local", func(_ *Config, _ *TunnelConfig, p *IPsecConfig, _ *StaticConfig) {
			p.Local = netip.MustParseAddr("192.0.2.9")
		}, "tunnels.b.ipsec.local: 192.0.2.9 is none of them"},
		{"host bits", func(_ *Config, t *TunnelConfig, _ *IPsecConfig, _ *StaticConfig) {
			t.Routes[0].Prefix = netip.MustParsePrefix("10.1.0.0/8")
		}, "tunnels.b.routes[0]: 10.1.0.0/8 has host bits set; want 10.0.0.0/8"},
		{"negative weight", func(_ *Config, t *TunnelConfig, _ *IPsecConfig, _ *StaticConfig) { t.Routes[0].Weight = -1 }, "tunnels.b.routes[0].weight: -1"},
		{"small MTU for IPv6", func(_ *Config, t *TunnelConfig, _ *IPsecConfig, _ *StaticConfig) {
			t.MTU, t.Addresses = 1000, prefixes("fd00::1/64")
		}, "want from 1280 to 65535 bytes, for IPv6"},
		{"window", func(_ *Config, _ *TunnelConfig, p *IPsecConfig, _ *StaticConfig) { p.ReplayWindow = -1 }, "tunnels.b.ipsec.replay_window: -1"},
		{"keepalive", func(_ *Config, _ *TunnelConfig, p *IPsecConfig, _ *StaticConfig) { p.Keepalive = -1 }, "tunnels.b.ipsec.nat_keepalive"},
		{"no static", func(_ *Config, _ *TunnelConfig, p *IPsecConfig, _ *StaticConfig) { p.Static = nil }, "the tunnel has no keys"},
		{"no suite", func(_ *Config, _ *TunnelConfig, _ *IPsecConfig, s *StaticConfig) { s.Suite = "" }, "tunnels.b.ipsec.static.esp: the suite is missing"},
		{"reserved SPI", func(_ *Config, _ *TunnelConfig, _ *IPsecConfig, s *StaticConfig) { s.Out.SPI = 255 }, "SPI 255 is reserved"},
		{"short key", func(_ *Config, _ *TunnelConfig, _ *IPsecConfig, s *StaticConfig) { s.In.Key = s.In.Key[1:] }, "the key has 19 bytes; want 20: 16 bytes of key and 4 of salt"},
		{"one key for both", func(_ *Config, _ *TunnelConfig, _ *IPsecConfig, s *StaticConfig) { s.In.Key = s.Out.Key }, "the two directions must not share a key"},
		{"a key in two tunnels", func(c *Config, t *TunnelConfig, p *IPsecConfig, s *StaticConfig) {
			other, keys := *p, *s
			other.Static, keys.In = &keys, SAConfig{257, count(22)[2:]}
			c.Tunnels = append(c.Tunnels, TunnelConfig{Name: "c", IPsec: &other})
		}, "tunnels.c.ipsec.static.out.key: the key is that of tunnels.b.ipsec.static.out.key already"},
		{"log level", func(c *Config, _ *TunnelConfig, _ *IPsecConfig, _ *StaticConfig) { c.Log.Level = "loud" }, "log.level: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			tt.spoil(c, &c.Tunnels[0], c.Tunnels[0].IPsec, c.Tunnels[0].IPsec.Static)
			err := c.Validate()
			var all ConfigErrors
			var one *ConfigError
			if !errors.As(err, &all) || !errors.As(err, &one) {
				t.Fatalf("Validate: %v, want ConfigErrors", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("no %q in\n%v", tt.want, err)
			}
			if len(all) != 1 {
				t.Errorf("%d mistakes, want 1:\n%v", len(all), err)
			}
		})
	}
}

// TestConfigMistakes compares what is said of bad files with what should be; UPDATE_GOLDEN=1 writes it anew.
func TestConfigMistakes(t *testing.T) {
	for _, name := range []string{"mistakes", "routing", "wireguard", "ike", "forward", "twice", "tab", "syntax"} {
		t.Run(name, func(t *testing.T) {
			golden := filepath.Join("testdata", "config", name+".golden")
			_, err := LoadConfig(filepath.Join("testdata", "config", name+".yaml"))
			var all ConfigErrors
			if !errors.As(err, &all) {
				t.Fatalf("LoadConfig: %v, want ConfigErrors", err)
			}
			got := filepath.ToSlash(err.Error()) + "\n"
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// manyPools are so many pools on one line.
func manyPools(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("p%d: {addresses: [10.%d.0.0/16]}", i, i))
	}
	return strings.Join(all, ", ")
}

func TestParseConfigTakesWhatItSays(t *testing.T) {
	tests := []struct{ name, yaml, want string }{
		{"empty", "", "x.yaml:1:1: there is nothing in the file; want vrfs: and tunnels:"},
		{"a comment", "# nothing\n", "there is nothing in the file"},
		{"a byte order mark", "\ufeffvrfs: {}\n", ""},
		{"lines that end as in Windows", "vrfs: {}\r\ntunnels: {}\r\n", ""},
		{"Latin-1", "vrfs: {}\n# caf\xe9\n", "x.yaml:2:6: not text: byte 0xe9 is not UTF-8; want YAML in UTF-8"},
		{"UTF-16", "\xff\xfev\x00r\x00", "x.yaml:1:1: not text: byte 0xff is not UTF-8"},
		{"a command for the terminal", "vrfs: {\"\x1b[31m\": {}}\n", "x.yaml:1:9: not text: U+001B is a control character"},
		{"such a command that is escaped", "\"\\e[31m\": {}\n", `1:1: �[31m: unknown key "\x1b[31m"`},
		{"an unknown key", "metrcs: {}\n", "want metrics"},
		{"keys that can be", "x: {}\n", "want one of control, defaults, forward, ike, include, key_export, log, pools, tunnels, underlay, vrfs, wireguard, workers\n"},
		{"a speaker that is nobody", "vrfs: {m: {bgp: {}}}\n", "local_as: the number of the AS is missing; want local_as: NUMBER"},
		{"a speaker without a name", "vrfs: {m: {bgp: {local_as: 1}}}\n", "router_id: the router ID is missing; want router_id: an IPv4 address"},
		{"a port behind the peer's address", "tunnels: {a: {ipsec: {remote: \"192.0.2.2:4501\"}}}\n", `"192.0.2.2:4501" has a port; want remote: 192.0.2.2 and remote_port: 4501`},
		{"a long socket", "control: {socket: /" + strings.Repeat("x", 108) + "}\n", "control.socket: the path has 109 bytes; want at most 107"},
		{"many keys on one line", "log: {level: info}\npools: {" + manyPools(40) + "}\n", ""},
		{"keys without values", "vrfs:\ntunnels:\ndefaults:\n", ""},
		{"no mapping", "just text", "this is a single value"},
		{"two documents", "vrfs: {}\n---\nvrfs: {}\n", "a second document begins here"},
		{"an include", "include: [a.yaml]\n", "nothing can be included"},
		{"a merge key", "vrfs: {main: {<<: {}}}\n", "a merge key is not supported as a key"},
		{"a tag", "workers: !!int 3\n", "a tag is not supported here"},
		{"a list for a value", "workers: [3]\n", "this is a list; want a single value"},
		{"a value for a list", "underlay: {addresses: 192.0.2.1}\n", "want a list"},
		{"nothing for a value", "workers:\n", "the key has no value"},
		{"deep nesting", "a: " + strings.Repeat("[", 100000), "within each other"},
		{"deep blocks", strings.Repeat("- ", 100000), "within each other"},
		{"deep keys", strings.Repeat("? ", 100000), "within each other"},
		{"too long", strings.Repeat("#", maxFile+1), "the file has"},
		{"a default that is wrong is told once", "vrfs: {m: {}}\ndefaults: {ipsec: {encap: x}}\ntunnels: {a: {ipsec: {}}, b: {ipsec: {}}}\n",
			"5 mistakes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseConfig("x.yaml", []byte(tt.yaml))
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	if _, err := LoadConfig(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := LoadConfig(os.DevNull); err == nil {
		t.Error("a device was read as a configuration")
	}
}
