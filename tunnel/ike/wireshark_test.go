package ike

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/warrenvpn/warren/bench/lab"
	"github.com/warrenvpn/warren/tunnel/ike/crypto"
)

// frame puts a message in IP and UDP.
func frame(t *testing.T, p *packet) []byte {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IP(p.from.Addr().AsSlice()), DstIP: net.IP(p.to.Addr().AsSlice())}
	udp := &layers.UDP{SrcPort: layers.UDPPort(p.from.Port()), DstPort: layers.UDPPort(p.to.Port())}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	buf := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, options, ip, udp, gopacket.Payload(p.data)); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// tshark reads the rows of IKEKeys.Wireshark and verifies and decrypts the messages of a handshake and a rekeying.
func TestTsharkDecrypts(t *testing.T) {
	lab.Require(t, "tshark")
	program, err := lab.Look("tshark")
	if err != nil {
		t.Fatal(err)
	}
	for _, ike := range []string{"aes256gcm16-prfsha384-curve25519", "aes128-sha256-curve25519"} {
		t.Run(ike, func(t *testing.T) {
			p := newPair(t, 80)
			p.sun.cfg.ExportKeys = false
			p.moonCfg.Proposals, p.sunCfg.Proposals = ikeList(t, ike), ikeList(t, ike)
			dir := t.TempDir()
			file := filepath.Join(dir, "ike.pcap")
			f, err := os.Create(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			w := pcapgo.NewWriter(f)
			if err := w.WriteFileHeader(65535, layers.LinkTypeRaw); err != nil {
				t.Fatal(err)
			}
			p.filter = func(k *packet) bool {
				b := frame(t, k)
				if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: p.now, CaptureLength: len(b), Length: len(b)}, b); err != nil {
					t.Fatal(err)
				}
				return true
			}
			p.up()
			p.sun.must(p.sun.Rekey(p.now, "moon", ""))
			p.run(time.Second)
			p.moon.must(p.moon.Terminate(p.now, "sun", "net"))
			p.run(time.Second)
			table := ""
			keys := find[IKEKeys](p.moon)
			if len(keys) != 2 || len(find[IKEKeys](p.sun)) != 0 {
				t.Fatalf("%d keys, want 2; nothing is told unless asked", len(keys))
			}
			for _, k := range keys {
				row, ok := k.Wireshark()
				if !ok {
					t.Fatal(row)
				}
				table += row + "\n"
			}
			if err := os.WriteFile(filepath.Join(dir, "ikev2_decryption_table"), []byte(table), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), program, "-n", "-r", file, "-V")
			cmd.Env = append(os.Environ(), "WIRESHARK_CONFIG_DIR="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if n := strings.Count(string(out), "Decrypted Data"); n < 8 || strings.Contains(string(out), "incorrect") {
				t.Errorf("%d messages are decrypted\n%s", n, out)
			}
			if !strings.Contains(string(out), "ID_FQDN: moon") {
				t.Errorf("tshark does not show what is within: %s", out)
			}
		})
	}
}

func TestRowsOfESP(t *testing.T) {
	c := ChildSA{
		In: 0xc0ffee01, Out: 0x1234, InKey: Secret("0123456789abcdefsalt"), OutKey: Secret("fedcba9876543210tlas"),
		Cipher: crypto.Cipher{Encr: crypto.EncrAESGCM16, KeyBits: 128},
	}
	c.Path.Local, c.Path.Remote = netip.MustParseAddrPort("[2001:db8::1]:500"), netip.MustParseAddrPort("[2001:db8::2]:500")
	rows, ok := c.Wireshark()
	want := [2]string{
		`"IPv6","2001:db8::2","2001:db8::1","0xc0ffee01","AES-GCM with 16 octet ICV [RFC4106]","0x3031323334353637383961626364656673616c74","NULL",""`,
		`"IPv6","2001:db8::1","2001:db8::2","0x00001234","AES-GCM with 16 octet ICV [RFC4106]","0x66656463626139383736353433323130746c6173","NULL",""`,
	}
	if !ok || rows != want {
		t.Errorf("rows %v %s", ok, rows)
	}
	c.Cipher = crypto.Cipher{Encr: crypto.EncrAESCBC, KeyBits: 128, Integ: crypto.IntegHMACSHA256128}
	c.InKey, c.Path = append(Secret("0123456789abcdef"), make([]byte, 32)...), Path{Remote: netip.MustParseAddrPort("192.0.2.1:4500")}
	c.OutKey = c.InKey
	rows, ok = c.Wireshark()
	if want := `"IPv4","192.0.2.1","*","0xc0ffee01","AES-CBC [RFC3602]","0x30313233343536373839616263646566","HMAC-SHA-256-128 [RFC4868]","0x` +
		strings.Repeat("00", 32) + `"`; !ok || rows[0] != want {
		t.Errorf("rows %v %s, want %s", ok, rows, want)
	}
}
