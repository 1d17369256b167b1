package quick

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

const (
	key1 = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	key2 = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
	key3 = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="
)

const whole = `# an interface
[Interface]
PrivateKey = ` + key1 + ` # mine
ListenPort=51820
FWMARK = 0xCa6c
Address = 10.0.0.1/24, fd00::1/64
address = 10.1.0.1
DNS = 1.1.1.1, example.org 2606:4700::1111
MTU = 1400
Table = off
PostUp = echo "a # b = c" > /dev/null
PostUp = true
PreDown = false
SaveConfig = true

[Peer]
PublicKey = ` + key2 + `
PresharedKey = ` + key3 + `
AllowedIPs = 10.0.0.2, 10.2.3.4/16 ,fd00::2/128
AllowedIPs = 0.0.0.0/0
Endpoint = [2001:db8::1]:51820
PersistentKeepalive = 25
	[PEER]	` + "\r" + `
PublicKey = ` + key3 + `

Endpoint = vpn.example.org:443
PersistentKeepalive = OFF
Endpoint = 192.0.2.1:1
`

func mustKey(t *testing.T, text string) Key {
	t.Helper()
	k, err := ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func prefixesOf(texts ...string) (out []netip.Prefix) {
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestParseWhole(t *testing.T) {
	got, err := Parse("wg0.conf", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Interface: Interface{
			PrivateKey: mustKey(t, key1), ListenPort: 51820, FwMark: 0xca6c, MTU: 1400, Table: "off",
			Addresses: prefixesOf("10.0.0.1/24", "fd00::1/64", "10.1.0.1/32"),
			DNS:       []netip.Addr{netip.MustParseAddr("1.1.1.1"), netip.MustParseAddr("2606:4700::1111")},
			Search:    []string{"example.org"},
			PostUp:    []string{`echo "a # b = c" > /dev/null`, "true"}, PreDown: []string{"false"}, SaveConfig: true,
		},
		Peers: []Peer{
			{PublicKey: PublicKey(mustKey(t, key2)), PresharedKey: mustKey(t, key3), PersistentKeepalive: 25,
				AllowedIPs: prefixesOf("10.0.0.2/32", "10.2.0.0/16", "fd00::2/128", "0.0.0.0/0"),
				Endpoint:   Endpoint{Addr: netip.MustParseAddr("2001:db8::1"), Port: 51820}},
			{PublicKey: PublicKey(mustKey(t, key3)), Endpoint: Endpoint{Addr: netip.MustParseAddr("192.0.2.1"), Port: 1}},
		},
		Ignored: []Ignored{{8, "DNS", whyDNS}, {11, "PostUp", whyHook}, {12, "PostUp", whyHook},
			{13, "PreDown", whyHook}, {14, "SaveConfig", whySave}, {26, "Endpoint", "line 28 says it again"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
	checkWriteBack(t, got)
}

// checkWriteBack writes c, parses that, and wants the same again but for the lines of what is ignored.
func checkWriteBack(t *testing.T, c *Config) {
	t.Helper()
	var b bytes.Buffer
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	again, err := Parse("again", b.Bytes())
	if err != nil {
		t.Fatalf("what Write printed does not parse: %v", err)
	}
	if !reflect.DeepEqual(again.Interface, c.Interface) || !reflect.DeepEqual(again.Peers, c.Peers) {
		t.Fatalf("written and read again: %+v\nwas: %+v", again, c)
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	_, err := Parse("bad.conf", []byte(`Address = 10.0.0.1
[Interface]
PrivateKey = `+key1[:40]+`
ListenPort = 70000
FwMark = 0X10
Address = 10.0.0.1/33, ok, 10.0.0.9/8
MTU = 12
Table = a;b
SaveConfig = yes
Colour = red
PublicKey = `+key2+`
`+key3+`
[Pear]
Nonsense
[Peer]
PublicKey = `+key2+`
AllowedIPs = 10.0.0.0/8,,+10.1.0.0/16
Endpoint = 2001:db8::1:51820
PersistentKeepalive = -1
[Peer]
PublicKey = `+key2+`
Endpoint = host
	Endpoint = 300.1.2.3:4
Endpoint = [fe80::1]:0
  Endpoint = [10.0.0.1]:1
DNS = 1.1.1.1
[Peer]
  AllowedIPs = 0.0.0.0/0 # no key
[Peer]
PublicKey =
`))
	var all Errors
	if !errors.As(err, &all) {
		t.Fatalf("%v", err)
	}
	want := `bad.conf:1:11: Address: the setting stands before any section; want [Interface] or [Peer] above it
bad.conf:3:14: PrivateKey: not a WireGuard key: 40 characters, want 44; want 44 characters of base64, as of wg genkey or wg genpsk
bad.conf:4:14: ListenPort: "70000" is not a port; want a number of 0 to 65535; 0 is any port
bad.conf:5:10: FwMark: "0X10" is not a mark; want off, or a number of 0 to 0xffffffff
bad.conf:6:11: Address: "33" is not a prefix length of 0 to 32; want addresses, each with or without /LENGTH, separated by commas
bad.conf:6:24: Address: "ok" is not an address; want addresses, each with or without /LENGTH, separated by commas
bad.conf:7:7: MTU: "12" is not an MTU; want a number of 68 to 65535
bad.conf:8:9: Table: "a;b" is not a table; want auto, off, a table's number or its name
bad.conf:9:14: SaveConfig: "yes" is neither true nor false; want true or false
bad.conf:10:10: Colour: no such setting in this section; want one of Address, DNS, FwMark, ListenPort, MTU, PostDown, PostUp, PreDown, PreUp, PrivateKey, SaveConfig, Table
bad.conf:11:13: PublicKey: the setting is of another section; want PublicKey in a [Peer] section
bad.conf:12:1: the line is neither a [Section] nor a setting; want NAME = VALUE
bad.conf:13:1: "[Pear]" is not a section; want [Interface] or [Peer]
bad.conf:14:1: the line is neither a [Section] nor a setting; want NAME = VALUE
bad.conf:17:25: AllowedIPs: "" is not an address; want addresses or prefixes, separated by commas
bad.conf:17:26: AllowedIPs: "+10.1.0.0/16" is a change, and a file says what is; want addresses or prefixes, separated by commas
bad.conf:18:12: Endpoint: brackets are for IPv6 addresses, and "2001:db8::1:51820" has them or lacks them wrongly; want ADDRESS:PORT, [IPV6]:PORT or NAME:PORT
bad.conf:19:23: PersistentKeepalive: "-1" is not an interval; want off, or 0 to 65535 seconds
bad.conf:21:13: PublicKey: the peer of line 16 has the same key; want one [Peer] section for each public key
bad.conf:22:12: Endpoint: "host" has no port; want ADDRESS:PORT, [IPV6]:PORT or NAME:PORT
bad.conf:23:13: Endpoint: "300.1.2.3" is neither an address nor a name; want ADDRESS:PORT, [IPV6]:PORT or NAME:PORT
bad.conf:24:12: Endpoint: "0" is not a port of 1 to 65535; want ADDRESS:PORT, [IPV6]:PORT or NAME:PORT
bad.conf:25:14: Endpoint: brackets are for IPv6 addresses, and "[10.0.0.1]:1" has them or lacks them wrongly; want ADDRESS:PORT, [IPV6]:PORT or NAME:PORT
bad.conf:26:7: DNS: the setting is of another section; want DNS in a [Interface] section
bad.conf:27:1: the peer has no PublicKey; want PublicKey = KEY, 44 characters of base64
bad.conf:30:12: PublicKey: not a WireGuard key: 0 characters, want 44; want 44 characters of base64, as of wg pubkey`
	got := strings.Split(err.Error(), "\n")
	for i, w := range strings.Split(want, "\n") {
		if i >= len(got) {
			t.Fatalf("missing: %s", w)
		}
		if got[i] != w {
			t.Errorf("got  %s\nwant %s", got[i], w)
		}
	}
	for _, extra := range got[min(len(got), strings.Count(want, "\n")+1):] {
		t.Errorf("extra: %s", extra)
	}
}

func TestEdges(t *testing.T) {
	cases := map[string]string{
		"":                               "no [Interface]",
		"[Peer]\nPublicKey=" + key2:      "no [Interface]",
		"[Interface]\nMTU":               "NAME = VALUE",
		"[Interface]\n=1":                "NAME = VALUE",
		"\ufeff[Interface]\n":            "NAME = VALUE",
		"[Interface]\nPostUp = # a\x00b": "f:2:10: PostUp: the command has a NUL",
		"[Peer]\nAllowedIPs=":            "AllowedIPs: \"\" is not an address",
		"[Interface]\nDNS = ;":           "neither an address nor a domain",
	}
	for text, want := range cases {
		if _, err := Parse("f", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	c, err := Parse("f", []byte("[Interface]\nAddress=\nMTU=\nTable=auto\nDNS=\nSaveConfig=false\n[Interface]\nListenPort=0\nListenPort=08"))
	if err != nil || c.Interface.ListenPort != 8 || len(c.Ignored) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := Parse("f", make([]byte, maxFile+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	var all Errors
	if _, err := Parse("f", bytes.Repeat([]byte("x\n"), 1000)); !errors.As(err, &all) || len(all) != maxErrors {
		t.Errorf("%d mistakes of 1000 lines reported, want %d", len(all), maxErrors)
	}
	if _, err := Load(t.TempDir() + "/none"); err == nil {
		t.Error("a file that is not there loads")
	}
}

func TestWriteRefuses(t *testing.T) {
	for _, command := range []string{"a\nPrivateKey = x", "", " a", "a\x00"} {
		var b bytes.Buffer
		c := Config{Interface: Interface{PostUp: []string{command}}}
		if err := c.Write(&b); !errors.Is(err, ErrLine) || b.Len() != 0 {
			t.Errorf("%q: %v, %d octets written", command, err, b.Len())
		}
	}
}

func TestOwnKeyAsPeer(t *testing.T) {
	self := mustKey(t, key1).Public().String()
	c, err := Parse("f", []byte("[Peer]\nPublicKey="+self+"\n[Interface]\nPrivateKey="+key1+"\n[Peer]\nPublicKey="+key2))
	if err != nil || len(c.Peers) != 1 || c.Peers[0].PublicKey.String() != key2 {
		t.Fatalf("%+v, %v", c, err)
	}
	if got := c.Ignored[0].String(); !strings.HasPrefix(got, "line 2: PublicKey is ignored: it is the interface's own key") {
		t.Errorf("%s", got)
	}
}

// A key in a wrong place, whole or with a character too many, appears in no error.
func TestErrorsShowNoKey(t *testing.T) {
	letters := strings.Repeat("abcdefghijkl", 4)[:42] + "A="
	for _, secret := range []string{key1, key1[:43], key1 + "x", "\"" + key1 + "\"", letters} {
		for _, line := range []string{"[%]", "%", "% = 1", "1%", "PrivateKey %", "PrivateKey = %", "PrivateKey: %", "ListenPort = %",
			"FwMark = %", "Address = %", "DNS = %", "MTU = %", "Table = %", "SaveConfig = %", "Unknown = %",
			"[Peer]\nPublicKey = %", "[Peer]\nPresharedKey = %x", "[Peer]\nAllowedIPs = %", "[Peer]\nAllowedIPs = -%",
			"[Peer]\nEndpoint = %", "[Peer]\nEndpoint = %:1", "[Peer]\nEndpoint = a:%", "[Peer]\nEndpoint = [%", "[Peer]\nEndpoint = [%]:1",
			"[Peer]\nPersistentKeepalive = %"} {
			text := "[Interface]\n" + strings.ReplaceAll(line, "%", secret) + "\n[Bad]"
			if _, err := Parse("f", []byte(text)); err == nil || strings.Contains(err.Error(), secret[1:12]) || strings.Contains(err.Error(), secret[24:36]) {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("[Interface]\nPrivateKey = " + key1 + "\nTable = 7\n[Peer]\nPublicKey = " + key2 + "\nEndpoint = [fe80::1%2]:3\n"))
	f.Add([]byte("[peer]\nallowedips = ::ffff:1.2.3.4/120, 1.2.3.4/0\nEndpoint=a.b.:1\n[interface]\nPostUp = x\rPostUp"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data)
		if err == nil {
			checkWriteBack(t, c)
			return
		}
		var all Errors
		if !errors.As(err, &all) || len(all) == 0 {
			t.Fatalf("%v", err)
		}
		for _, e := range all {
			if e.Line < 1 || e.Column < 1 || e.Problem == "" || e.Want == "" {
				t.Fatalf("no place or no advice: %+v", e)
			}
		}
	})
}
