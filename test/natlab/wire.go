package natlab

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of a wire.
const (
	wireQueue  = 4096     // frames under way in one direction; more are lost
	wireBuffer = 16 << 20 // bytes of socket buffer
	maxFrame   = 64<<10 + 64
)

// WireStats counts what a wire did, per direction: 0 from the host, 1 to it.
type WireStats struct{ Frames, Bytes, Lost [2]atomic.Int64 }

// wire carries frames between two packet sockets.
type wire struct {
	fds   [2]int
	delay atomic.Int64
	loss  atomic.Uint64 // out of 1<<32
	stats WireStats
	done  chan struct{}
	wg    sync.WaitGroup
}

// frame is one frame under way, with the header of openPacket's sockets.
type frame struct {
	due  time.Time
	data []byte
}

// Wire puts a long cable with the given one-way delay and share of lost frames
// between a port and its switch, and returns a function that changes both.
// Goroutines of this process carry the frames: it is there for kernels without
// netem, and carried 1 Gbit/s over 10 ms on two cores.
func (p *Port) Wire(delay time.Duration, loss float64) (set func(time.Duration, float64), stats *WireStats, err error) {
	near, err := p.splice()
	if err != nil {
		return nil, nil, err
	}
	l := p.lab
	w := &wire{done: make(chan struct{})}
	in := &Host{Name: fabric, ns: l.netns(fabric)}
	err = in.Do(func() error {
		for i, dev := range []string{p.peer, near} {
			if w.fds[i], err = openPacket(dev); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	set = func(d time.Duration, loss float64) {
		w.delay.Store(int64(d))
		w.loss.Store(uint64(loss * (1 << 32)))
	}
	set(delay, loss)
	w.wg.Go(func() { w.carry(0) })
	w.wg.Go(func() { w.carry(1) })
	l.mu.Lock()
	l.wires = append(l.wires, w)
	l.mu.Unlock()
	return set, &w.stats, nil
}

// splice takes the port's cable off its bridge and puts a second pair of
// interfaces there instead. It returns the end that the wire has to serve.
func (p *Port) splice() (near string, err error) {
	fab := p.lab.netns(fabric)
	out, err := run("ip", "-n", fab, "-o", "link", "show", p.peer)
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(out, " master ")
	master, _, _ := strings.Cut(rest, " ")
	if master == "" {
		return "", fmt.Errorf("natlab: port %s is on no switch", p.peer)
	}
	near, far := p.peer+"a", p.peer+"b"
	if err := batch(fab,
		fmt.Sprintf("link add %s type veth peer name %s", near, far),
		fmt.Sprintf("link set %s nomaster", p.peer),
		fmt.Sprintf("link set %s master %s up", far, master),
		fmt.Sprintf("link set %s up promisc on", near),
		fmt.Sprintf("link set %s promisc on", p.peer)); err != nil {
		return "", err
	}
	for _, dev := range []string{near, far} {
		if err := awaitUp(fab, dev); err != nil {
			return "", err
		}
	}
	return near, nil
}

// close waits for the goroutines first: a descriptor that is closed under a reader
// may be another file's a moment later.
func (w *wire) close() {
	close(w.done)
	w.wg.Wait()
	for _, fd := range w.fds {
		unix.Close(fd)
	}
}

// vnetHdrLen is the size of the virtio_net_hdr that comes before each frame.
// With it, segmentation and checksum offload stay as they are: a frame of 64
// kB passes as one.
const vnetHdrLen = 10

// htons is the protocol number as the kernel wants it, on little-endian machines.
func htons(v uint16) uint16 { return v<<8 | v>>8 }

// openPacket returns a socket that receives and sends whole frames on a device. It
// must run inside the device's namespace.
func openPacket(dev string) (int, error) {
	// Protocol 0: nothing is received until the socket is bound to one device.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	idx, err := ifIndex(fd, dev)
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	for _, o := range []struct{ level, opt, val int }{
		{unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1},
		{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, wireBuffer},
		{unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, wireBuffer},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.opt, o.val); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("natlab: socket option %d on %s: %w", o.opt, dev, err)
		}
	}
	// A short timeout lets the reader notice that the wire was closed.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200_000}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("natlab: read timeout on %s: %w", dev, err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: idx}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func ifIndex(fd int, dev string) (int, error) {
	ifr, err := unix.NewIfreq(dev)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return 0, err
	}
	return int(ifr.Uint32()), nil
}

// carry moves frames from socket i to the other one until the wire is closed.
func (w *wire) carry(i int) {
	queue := make(chan frame, wireQueue)
	w.wg.Go(func() { w.send(i, queue) })
	defer close(queue)
	buf := make([]byte, vnetHdrLen+maxFrame)
	for {
		n, err := unix.Read(w.fds[i], buf)
		select {
		case <-w.done:
			return
		default:
		}
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN) {
			continue
		}
		if err != nil {
			return
		}
		w.stats.Frames[i].Add(1)
		w.stats.Bytes[i].Add(int64(n - vnetHdrLen))
		if uint64(rand.Uint32()) < w.loss.Load() {
			w.stats.Lost[i].Add(1)
			continue
		}
		select {
		case queue <- frame{time.Now().Add(time.Duration(w.delay.Load())), bytes.Clone(buf[:n])}:
		default:
			w.stats.Lost[i].Add(1)
		}
	}
}

// send writes the frames that came from socket i when they are due.
func (w *wire) send(i int, queue <-chan frame) {
	for f := range queue {
		select {
		case <-time.After(time.Until(f.due)):
		case <-w.done:
			return
		}
		if _, err := unix.Write(w.fds[1-i], f.data); err != nil {
			w.stats.Lost[i].Add(1)
		}
	}
}
