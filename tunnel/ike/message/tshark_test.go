package message

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// tshark decodes a message in UDP and returns the values of fields, each field's in the order of the message.
func tshark(t *testing.T, message []byte, fields ...string) []string {
	t.Helper()
	program, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getuid() != 0 {
			t.Skip("tshark is not installed")
		}
		t.Fatal("tshark is not installed: ", err)
	}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IPv4(192, 0, 2, 1), DstIP: net.IPv4(192, 0, 2, 2)}
	udp := &layers.UDP{SrcPort: 500, DstPort: 500}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	packet := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(packet, options, ip, udp, gopacket.Payload(message)); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	w := pcapgo.NewWriter(&file)
	if err := w.WriteFileHeader(65535, layers.LinkTypeRaw); err != nil {
		t.Fatal(err)
	}
	n := len(packet.Bytes())
	if err := w.WritePacket(gopacket.CaptureInfo{CaptureLength: n, Length: n}, packet.Bytes()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ike.pcap")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-n", "-r", path, "-T", "fields", "-E", "separator=|", "-E", "aggregator=,"}
	for _, f := range append(fields, "_ws.malformed", "_ws.expert.message") {
		args = append(args, "-e", f)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, stderr.Bytes())
	}
	values := strings.Split(strings.TrimRight(string(out), "\n"), "|")
	if len(values) != len(fields)+2 {
		t.Fatalf("tshark printed %q", out)
	}
	if complaint := values[len(fields)] + values[len(fields)+1]; complaint != "" {
		t.Errorf("tshark complains: %s", complaint)
	}
	return values[:len(fields)]
}

// decodes appends a message and compares what tshark says of it, by field.
func decodes(t *testing.T, m *Message, want [][2]string) {
	t.Helper()
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, [2]string{"isakmp.length", fmt.Sprint(len(b))})
	var fields []string
	for _, w := range want {
		fields = append(fields, w[0])
	}
	for i, got := range tshark(t, b, fields...) {
		if got != want[i][1] {
			t.Errorf("%s: tshark says\n%s, want\n%s", want[i][0], got, want[i][1])
		}
	}
}

// TestTsharkInit has tshark decode an IKE_SA_INIT request.
func TestTsharkInit(t *testing.T) {
	nonce, data := bytes.Repeat([]byte{0xab}, 32), bytes.Repeat([]byte{0x5a}, 32)
	m := &Message{Header: Header{SPIi: 0x0102030405060708, SPIr: 0x1112131415161718, Exchange: IKESAInit, Flags: FlagInitiator}}
	m.Payloads = []Payload{
		&SA{Proposals: []Proposal{
			{Number: 1, Protocol: ProtocolIKE, Transforms: []Transform{
				{Type: TransformEncr, ID: EncrAESGCM16, KeyLength: 256}, {Type: TransformPRF, ID: PRFHMACSHA384},
				{Type: TransformKE, ID: KEECP384}, {Type: TransformADDKE1, ID: KEMLKEM768},
			}},
			{Number: 2, Protocol: ProtocolIKE, SPI: []byte("spi-of-8"), Transforms: []Transform{
				{Type: TransformEncr, ID: EncrAESCBC, KeyLength: 128}, {Type: TransformInteg, ID: IntegHMACSHA256128},
				{Type: TransformPRF, ID: PRFHMACSHA256}, {Type: TransformKE, ID: KECurve25519},
			}},
		}},
		&KE{Method: KECurve25519, Data: data},
		&Nonce{Data: nonce},
		NotifyUint16s(SignatureHashAlgorithms, 2, 3, 4),
		&Notify{Type: FragmentationSupported},
		NotifyUint16s(InvalidKEPayload, KEECP521),
		NotifySPI(RekeySA, ProtocolESP, 0xc0ffee01),
		&VendorID{Data: []byte("warren")},
	}
	decodes(t, m, [][2]string{
		{"isakmp.ispi", "0102030405060708"}, {"isakmp.rspi", "1112131415161718"}, {"isakmp.version", "0x20"},
		{"isakmp.exchangetype", "34"}, {"isakmp.flags", "0x08"}, {"isakmp.messageid", "0x00000000"},
		{"isakmp.typepayload", "33,2,3,3,3,3,2,3,3,3,3,34,40,41,41,41,41,43"},
		{"isakmp.nextpayload", "33,34,2,3,3,3,0,0,3,3,3,0,40,41,41,41,41,43,0"},
		{"isakmp.prop.number", "1,2"}, {"isakmp.prop.protoid", "1,1"}, {"isakmp.prop.transforms", "4,4"},
		{"isakmp.spisize", "0,8,0,0,0,4"}, {"isakmp.tf.type", "1,2,4,6,1,3,2,4"}, {"isakmp.tf.id.encr", "20,12"},
		{"isakmp.tf.id.prf", "6,5"}, {"isakmp.tf.id.integ", "12"}, {"isakmp.tf.id.dh", "20,31"}, {"isakmp.tf.id", "36"},
		{"isakmp.ike2.attr.key_length", "256,128"}, {"isakmp.key_exchange.dh_group", "31"},
		{"isakmp.key_exchange.data", hex.EncodeToString(data)}, {"isakmp.nonce", hex.EncodeToString(nonce)},
		{"isakmp.notify.msgtype", "16431,16430,17,16393"}, {"isakmp.notify.data.signature_hash_algorithms", "2,3,4"},
		{"isakmp.notify.data.accepted_dh_group", "21"}, {"isakmp.notify.protoid", "0,0,0,3"},
		{"isakmp.spi", hex.EncodeToString([]byte("spi-of-8")) + ",c0ffee01"}, {"isakmp.vid_bytes", hex.EncodeToString([]byte("warren"))},
	})
}

// TestTsharkAuth has tshark decode what stands in IKE_AUTH and INFORMATIONAL, in the clear.
func TestTsharkAuth(t *testing.T) {
	hash := bytes.Repeat([]byte{0x33}, 20)
	ed25519 := []byte{0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70}
	tcp := SelectorOf(netip.MustParsePrefix("10.3.0.0/24"))
	tcp.Protocol, tcp.StartPort, tcp.EndPort = 6, 80, 443
	m := &Message{Header: Header{SPIi: 1, SPIr: 2, Exchange: IKEAuth, Flags: FlagResponse | FlagVersion, MessageID: 0x01020304}}
	m.Payloads = []Payload{
		&IDi{IDOfAddr(netip.MustParseAddr("192.0.2.77"))},
		&IDr{ID{Type: IDFQDN, Data: []byte("moon.example")}},
		&Cert{Encoding: CertHashAndURL, Data: append(bytes.Clone(hash), "http://never.example/c"...)},
		&CertReq{Encoding: CertCRL, Authority: hash},
		&Auth{Method: AuthDigitalSignature, Algorithm: ed25519, Data: []byte{1, 2, 3, 4}},
		&CP{Type: ConfigReply, Attributes: []ConfigAttribute{
			ConfigAddr(InternalIP4Address, netip.MustParseAddr("10.1.0.9")), ConfigNetmask(24),
			ConfigPrefix(InternalIP6Address, netip.MustParsePrefix("2001:db8::9/64")),
			ConfigPrefix(InternalIP4Subnet, netip.MustParsePrefix("10.2.0.0/16")),
		}},
		&TSi{Selectors: []TrafficSelector{tcp}},
		&TSr{Selectors: SelectorsOf([]netip.Prefix{netip.MustParsePrefix("10.2.0.0/15"), netip.MustParsePrefix("2001:db8:2::/48")})},
		&Delete{Protocol: ProtocolESP, SPIs: []uint32{0xaabbccdd, 0x11223344}},
		&EAP{Message: []byte{1, 9, 0, 5, 1}},
	}
	decodes(t, m, [][2]string{
		{"isakmp.exchangetype", "35"}, {"isakmp.flags", "0x30"}, {"isakmp.messageid", "0x01020304"},
		{"isakmp.typepayload", "35,36,37,38,39,47,44,45,42,48"},
		{"isakmp.id.type", "1,2"}, {"isakmp.id.data.ipv4_addr", "192.0.2.77"}, {"isakmp.id.data.fqdn", "moon.example"},
		{"isakmp.cert.encoding", "12"}, {"isakmp.cert.x509.hash", hex.EncodeToString(hash)},
		{"isakmp.cert.x509.url", "http://never.example/c"}, {"isakmp.certreq.type", "7"}, {"isakmp.auth.method", "14"},
		{"isakmp.auth.data.sig.asn1.len", "7"}, {"isakmp.auth.data.sig.asn1.data", hex.EncodeToString(ed25519)},
		{"isakmp.auth.data.sig.value", "01020304"}, {"isakmp.cfg.type", "2"},
		{"isakmp.cfg.attr.internal_ip4_address", "10.1.0.9"}, {"isakmp.cfg.attr.internal_ip4_netmask", "255.255.255.0"},
		{"isakmp.cfg.attr.internal_ip6_address", "2001:db8::9"}, {"isakmp.cfg.attr.internal_ip6_address.prefix", "64"},
		{"isakmp.cfg.attr.internal_ip4_subnet_ip", "10.2.0.0"}, {"isakmp.cfg.attr.internal_ip4_subnet_netmask", "255.255.0.0"},
		{"isakmp.ts.number", "1,2"}, {"isakmp.ts.type", "7,7,8"}, {"isakmp.ts.protoid", "6,0,0"},
		{"isakmp.ts.selector_length", "16,16,40"}, {"isakmp.ts.start_port", "80,0,0"}, {"isakmp.ts.end_port", "443,65535,65535"},
		{"isakmp.ts.start_ipv4", "10.3.0.0,10.2.0.0"}, {"isakmp.ts.end_ipv4", "10.3.0.255,10.3.255.255"},
		{"isakmp.ts.start_ipv6", "2001:db8:2::"}, {"isakmp.ts.end_ipv6", "2001:db8:2:ffff:ffff:ffff:ffff:ffff"},
		{"isakmp.delete.protoid", "3"}, {"isakmp.spinum", "2"}, {"isakmp.delete.spi", "aabbccdd,11223344"},
		{"eap.code", "1"}, {"eap.id", "9"},
	})
}

// TestTsharkFragment has tshark decode an SKF payload.
func TestTsharkFragment(t *testing.T) {
	h := Header{SPIi: 1, SPIr: 2, Exchange: IKEAuth, MessageID: 1}
	decodes(t, &Message{h, []Payload{&SKF{Number: 3, Total: 7, Body: zeros(60)}}}, [][2]string{
		{"isakmp.typepayload", "53"}, {"isakmp.frag.number", "3"}, {"isakmp.frag.total", "7"},
	})
}

// TestTsharkNames compares the registry's names with Wireshark's, which has those up to its release.
func TestTsharkNames(t *testing.T) {
	program, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getuid() != 0 {
			t.Skip("tshark is not installed")
		}
		t.Fatal("tshark is not installed: ", err)
	}
	out, err := exec.CommandContext(t.Context(), program, "-G", "values").Output()
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) != 5 || f[1] != "isakmp.notify.msgtype" || f[2] != f[3] || !strings.Contains(f[4], "_") && f[4] != "COOKIE" {
			continue // IKEv1's names have hyphens
		}
		var n NotifyType
		if _, err := fmt.Sscan(f[2], &n); err != nil {
			t.Fatal(err)
		}
		switch {
		case n == AuthorizationFailed:
			continue // Wireshark 4.0 has CHILD_SA_NOT_FOUND twice
		case n.Error() && n > 48 || n >= 40960:
			continue // private use
		case n.String() != f[4]:
			t.Errorf("%d is %v, for Wireshark %s", uint16(n), n, f[4])
		}
		compared++
	}
	if compared < 60 {
		t.Errorf("compared %d names only", compared)
	}
}
