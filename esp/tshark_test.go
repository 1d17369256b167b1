//go:build linux

package esp_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
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
	"github.com/warrenvpn/warren/esp"
)

// wireshark names the algorithms of a suite as tshark 4.0's preferences do; it knows neither ChaCha20-Poly1305 nor ESN.
func wireshark(s esp.Suite) (encryption, integrity string, encKey int) {
	words := s.String()
	if s.AEAD() {
		return "AES-GCM with 16 octet ICV [RFC4106]", "NULL", s.KeyLen()
	}
	name, hash, _ := strings.Cut(words, "-")
	encKey = map[string]int{"aes128": 16, "aes192": 24, "aes256": 32}[name]
	integrity = map[string]string{
		"sha1": "HMAC-SHA-1-96 [RFC2404]", "sha256": "HMAC-SHA-256-128 [RFC4868]",
		"sha384": "HMAC-SHA-384-192 [RFC4868]", "sha512": "HMAC-SHA-512-256 [RFC4868]",
	}[hash]
	return "AES-CBC [RFC3602]", integrity, encKey
}

// keyOf returns keying material that is another for each suite.
func keyOf(s esp.Suite) []byte {
	key := make([]byte, s.KeyLen())
	for i := range key {
		key[i] = byte(i*7) + byte(s)
	}
	return key
}

// TestTsharkDecrypts has tshark verify and decrypt what every suite sealed, in place and apart, over IPv4, IPv6 and UDP.
func TestTsharkDecrypts(t *testing.T) {
	lab.Require(t, "tshark")
	var frames [][]byte
	var want []string
	args := []string{"-n", "-o", "esp.enable_encryption_decode:TRUE", "-o", "esp.enable_authentication_check:TRUE"}
	for _, s := range esp.Suites() {
		if s == esp.ChaCha20Poly1305 {
			continue
		}
		spi, key := 0x5000+uint32(s), keyOf(s)
		sa, err := esp.NewOutbound(esp.Config{SPI: spi, Suite: s, Key: key, IVBase: uint64(time.Now().UnixNano())})
		if err != nil {
			t.Fatal(err)
		}
		encryption, integrity, encKey := wireshark(s)
		for _, family := range []string{"IPv4", "IPv6"} {
			args = append(args, "-o", fmt.Sprintf(`uat:esp_sa:"%s","*","*","0x%08x","%s","0x%x","%s","%s"`,
				family, spi, encryption, key[:encKey], integrity, authKey(s, key[encKey:])))
		}
		fresh, expect := tsharkPackets(t, sa)
		frames, want = append(frames, fresh...), append(want, expect...)
		// One bit in the ICV, which tshark must notice. It decrypts all the same.
		damaged := bytes.Clone(fresh[1])
		damaged[len(damaged)-1] ^= 1
		frames, want = append(frames, damaged), append(want, strings.Replace(expect[1], " 1 ", " 0 ", 1))
	}
	file := filepath.Join(t.TempDir(), "sealed.pcap")
	writePcap(t, file, frames)
	args = append(args, "-r", file, "-T", "fields", "-E", "separator=/s", "-e", "esp.spi", "-e", "esp.sequence", "-e", "esp.icv_good",
		"-e", "esp.protocol", "-e", "data.data")
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), mustLook(t, "tshark"), args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, stderr.Bytes())
	}
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(got) != len(want) {
		t.Fatalf("tshark decoded %d packets, want %d:\n%s\n%s", len(got), len(want), out, stderr.Bytes())
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("packet %d: tshark says\n%s, want\n%s", i+1, got[i], want[i])
		}
	}
}

func authKey(s esp.Suite, key []byte) string {
	if s.AEAD() {
		return ""
	}
	return fmt.Sprintf("0x%x", key)
}

// tsharkPackets seals packets of several lengths into frames, and says what tshark should print of each.
func tsharkPackets(t *testing.T, sa *esp.Outbound) (frames [][]byte, want []string) {
	t.Helper()
	scratch := esp.NewScratch()
	lengths := []int{1, 2, 3, 4, 17, 100, 1300}
	run := sa.Reserve(len(lengths))
	defer run.End()
	for i, n := range lengths {
		payload := bytes.Repeat([]byte{byte(n), byte(sa.Suite())}, n)[:n]
		inner, next := innerUDP(t, i%2 == 0, payload)
		seq := run.First()
		sealed := make([]byte, sa.SealedLen(len(inner)))
		if i%3 == 0 {
			copy(sealed[sa.HeaderLen():], inner)
			run.Seal(scratch, sealed, len(inner), next)
		} else {
			src := append(inner, make([]byte, sa.TrailerLen(len(inner)))...)
			run.SealTo(scratch, sealed, src, len(inner), next)
		}
		frames = append(frames, outer(t, i, sealed))
		want = append(want, fmt.Sprintf("0x%08x %d 1 0x%02x %s", sa.SPI(), seq, next, hex.EncodeToString(payload)))
	}
	return frames, want
}

// innerUDP returns a UDP datagram in an IP packet, and the next header that tunnel mode has for it.
func innerUDP(t *testing.T, v4 bool, payload []byte) (packet []byte, next byte) {
	t.Helper()
	u := &layers.UDP{SrcPort: 40000, DstPort: 40001}
	if v4 {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IPv4(10, 1, 0, 1), DstIP: net.IPv4(10, 2, 0, 1)}
		return serialize(t, u.SetNetworkLayerForChecksum(ip), ip, u, gopacket.Payload(payload)), 4
	}
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP,
		SrcIP: net.ParseIP("2001:db8:1::1"), DstIP: net.ParseIP("2001:db8:2::1")}
	return serialize(t, u.SetNetworkLayerForChecksum(ip), ip, u, gopacket.Payload(payload)), 41
}

// outer puts an ESP packet into IPv4, IPv6 or UDP over IPv4, in turn.
func outer(t *testing.T, kind int, sealed []byte) []byte {
	t.Helper()
	v4 := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolESP, SrcIP: net.IPv4(192, 0, 2, 1), DstIP: net.IPv4(192, 0, 2, 2)}
	switch kind % 3 {
	case 0:
		return serialize(t, nil, v4, gopacket.Payload(sealed))
	case 1:
		v6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolESP,
			SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2")}
		return serialize(t, nil, v6, gopacket.Payload(sealed))
	default:
		v4.Protocol = layers.IPProtocolUDP
		u := &layers.UDP{SrcPort: 4500, DstPort: 4500}
		return serialize(t, u.SetNetworkLayerForChecksum(v4), v4, u, gopacket.Payload(sealed))
	}
}

func serialize(t *testing.T, err error, parts ...gopacket.SerializableLayer) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(buf.Bytes())
}

func writePcap(t *testing.T, path string, frames [][]byte) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := pcapgo.NewWriter(f)
	if err := w.WriteFileHeader(65535, layers.LinkTypeRaw); err != nil {
		t.Fatal(err)
	}
	for _, frame := range frames {
		if err := w.WritePacket(gopacket.CaptureInfo{CaptureLength: len(frame), Length: len(frame)}, frame); err != nil {
			t.Fatal(err)
		}
	}
}

func mustLook(t *testing.T, program string) string {
	t.Helper()
	path, err := lab.Look(program)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
