package capture

import (
	"encoding/binary"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/dataplane/port/pipe"
)

// tsharkPath fails the test as root where tshark is missing, and skips it otherwise.
func tsharkPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("tshark")
	if err != nil {
		if os.Geteuid() == 0 {
			t.Fatal("tshark is not installed: apt-get install tshark")
		}
		t.Skip("tshark is not installed")
	}
	return path
}

func TestTsharkUnderstandsTheFile(t *testing.T) {
	tshark := tsharkPath(t)
	name := filepath.Join(t.TempDir(), "capture.pcapng")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := NewWriter(f, Options{Now: newClock().now})
	p := pipe.New(pipe.Config{Name: "lan0"})
	defer p.Close()
	u := &fakeUnderlay{local: netip.MustParseAddrPort("192.0.2.1:4500"), encap: dataplane.Encap{UDP: true}}
	under := TapUnderlay(u, w)
	p.Inject(ipv4(60, 1))
	TapPort(p, w).Readers()[0].Read(packet.NewBatch(1 << 16))
	esp := make([]byte, 100)
	binary.BigEndian.PutUint32(esp, 0xc0ffee)
	esp[7] = 7
	under.NewSender().Send([]dataplane.Frame{{
		Data: esp, Path: &dataplane.Path{Underlay: under, Remote: netip.MustParseAddrPort("192.0.2.2:4500")},
	}})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), tshark, "-n", "-r", name, "-T", "fields", "-E", "separator=,",
		"-e", "frame.interface_name", "-e", "frame.packet_flags_direction", "-e", "ip.src", "-e", "ip.dst", "-e", "udp.dstport",
		"-e", "esp.spi", "-e", "esp.sequence").Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(string(out))
	want := []string{
		"lan0,0x00000001,0.0.0.1,0.0.0.2,0,,",
		"fake,192.0.2.1:4500,0x00000002,192.0.2.1,192.0.2.2,4500,0x00c0ffee,7",
	}
	if len(got) == 3 { // the underlay's name has a blank in it
		got = []string{got[0], got[1] + "," + got[2]}
	}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("tshark says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
