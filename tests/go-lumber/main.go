// Command go-lumber lets the protocol's reference library talk to ours.
//
//	go-lumber server [flags]   takes events and writes each as a JSON line to stdout, or their number
//	go-lumber client [flags]   sends events and writes each acknowledgement as a JSON line
//
// The server writes {"listening":"127.0.0.1:PORT"} first and ends when its stdin does. The
// library has no client of version 1; that one is written out here after the protocol of
// logstash-forwarder: one window frame, one compressed frame, one acknowledgement.
package main

import (
	"bytes"
	"compress/zlib"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	client "github.com/elastic/go-lumber/client/v2"
	"github.com/elastic/go-lumber/server"
)

type options struct {
	address     string
	version     int
	compression int
	windows     int
	events      int
	inFlight    int
	timeout     time.Duration
	keepAlive   time.Duration
	delay       time.Duration
	authority   string
	certificate string
	key         string
	name        string
	count       bool
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "go-lumber:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 2 {
		return errors.New("usage: go-lumber server|client [flags]")
	}
	var o options
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&o.address, "address", "127.0.0.1:0", "where to listen or connect")
	flags.IntVar(&o.version, "version", 2, "protocol version of the client; 0 is any for the server")
	flags.IntVar(&o.compression, "compression", 0, "zlib level, 0 for none")
	flags.IntVar(&o.windows, "windows", 1, "windows to send")
	flags.IntVar(&o.events, "events", 100, "events in a window")
	flags.IntVar(&o.inFlight, "in-flight", 0, "windows to send before the first acknowledgement, 0 to wait for each")
	flags.DurationVar(&o.timeout, "timeout", 30*time.Second, "network timeout")
	flags.DurationVar(&o.keepAlive, "keep-alive", 3*time.Second, "pause between the server's keep-alives")
	flags.DurationVar(&o.delay, "delay", 0, "how long the server keeps each window before it acknowledges")
	flags.StringVar(&o.authority, "ca", "", "PEM file of whom to trust; switches TLS on in the client")
	flags.StringVar(&o.certificate, "certificate", "", "PEM file of our certificate; switches TLS on in the server")
	flags.StringVar(&o.key, "key", "", "PEM file of its key")
	flags.StringVar(&o.name, "server-name", "localhost", "name that the server's certificate must have")
	flags.BoolVar(&o.count, "count", false, "the server writes only how many events there were so far, after each window")
	if err := flags.Parse(os.Args[2:]); err != nil {
		return err
	}
	switch os.Args[1] {
	case "server":
		return serve(o)
	case "client":
		return send(o)
	default:
		return fmt.Errorf("unknown mode %q", os.Args[1])
	}
}

func (o options) tls() (*tls.Config, error) {
	if o.authority == "" && o.certificate == "" {
		return nil, nil
	}
	config := &tls.Config{ServerName: o.name, MinVersion: tls.VersionTLS12}
	if o.authority != "" {
		pem, err := os.ReadFile(o.authority)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %s", o.authority)
		}
		config.RootCAs = pool
		config.ClientCAs = pool
	}
	if o.certificate != "" {
		pair, err := tls.LoadX509KeyPair(o.certificate, o.key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func serve(o options) error {
	config, err := o.tls()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", o.address)
	if err != nil {
		return err
	}
	address := listener.Addr().String()
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	s, err := server.NewWithListener(listener,
		server.V1(o.version != 2), server.V2(o.version != 1),
		server.Timeout(o.timeout), server.Keepalive(o.keepAlive))
	if err != nil {
		return err
	}
	output := json.NewEncoder(os.Stdout)
	if err := output.Encode(map[string]string{"listening": address}); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	taken := 0
	for batch := range s.ReceiveChan() {
		taken += len(batch.Events)
		if o.count {
			if err := output.Encode(map[string]int{"taken": taken}); err != nil {
				return err
			}
		} else {
			for _, event := range batch.Events {
				if err := output.Encode(event); err != nil {
					return err
				}
			}
		}
		time.Sleep(o.delay)
		batch.ACK()
	}
	return nil
}

type acknowledgement struct {
	Window int    `json:"window"`
	Events uint32 `json:"events"`
}

func send(o options) error {
	config, err := o.tls()
	if err != nil {
		return err
	}
	dial := func(network, address string) (net.Conn, error) {
		connection, err := net.DialTimeout(network, address, o.timeout)
		if err != nil || config == nil {
			return connection, err
		}
		secured := tls.Client(connection, config)
		return secured, secured.Handshake()
	}
	output := json.NewEncoder(os.Stdout)
	switch {
	case o.version == 1:
		return sendVersion1(o, dial, output)
	case o.inFlight > 0:
		return sendPipelined(o, dial, output)
	}
	c, err := client.SyncDialWith(dial, o.address, client.Timeout(o.timeout), client.CompressionLevel(o.compression))
	if err != nil {
		return err
	}
	for window := 0; window < o.windows; window++ {
		events, err := c.Send(window2(o, window))
		if err != nil {
			return fmt.Errorf("window %d: %w", window, err)
		}
		if err := output.Encode(acknowledgement{window, uint32(events)}); err != nil {
			return err
		}
	}
	return c.Close()
}

func sendPipelined(o options, dial func(string, string) (net.Conn, error), output *json.Encoder) error {
	c, err := client.AsyncDialWith(dial, o.address, o.inFlight, client.Timeout(o.timeout), client.CompressionLevel(o.compression))
	if err != nil {
		return err
	}
	type result struct {
		acknowledgement
		err error
	}
	results := make(chan result, o.windows)
	for window := 0; window < o.windows; window++ {
		callback := func(events uint32, err error) {
			results <- result{acknowledgement{window, events}, err}
		}
		if err := c.Send(callback, window2(o, window)); err != nil {
			return fmt.Errorf("window %d: %w", window, err)
		}
	}
	for window := 0; window < o.windows; window++ {
		result := <-results
		if result.err != nil {
			return fmt.Errorf("window %d: %w", result.Window, result.err)
		}
		if err := output.Encode(result.acknowledgement); err != nil {
			return err
		}
	}
	return c.Close()
}

func window2(o options, window int) []interface{} {
	events := make([]interface{}, o.events)
	for index := range events {
		number := window*o.events + index
		events[index] = map[string]interface{}{"message": line(number), "number": number}
	}
	return events
}

func line(number int) string {
	return fmt.Sprintf("line %d \"quoted\" \u00e9", number)
}

func sendVersion1(o options, dial func(string, string) (net.Conn, error), output *json.Encoder) error {
	connection, err := dial("tcp", o.address)
	if err != nil {
		return err
	}
	sequence := uint32(0)
	for window := 0; window < o.windows; window++ {
		var frames bytes.Buffer
		for index := 0; index < o.events; index++ {
			number := window*o.events + index
			sequence++
			frames.WriteString("1D")
			integer(&frames, int(sequence))
			integer(&frames, 4)
			for _, field := range []string{
				"file", "/var/log/a", "host", "h", "offset", strconv.Itoa(number), "line", line(number),
			} {
				integer(&frames, len(field))
				frames.WriteString(field)
			}
		}
		var message bytes.Buffer
		message.WriteString("1W")
		integer(&message, o.events)
		if o.compression > 0 {
			var compressed bytes.Buffer
			compressor, err := zlib.NewWriterLevel(&compressed, o.compression)
			if err != nil {
				return err
			}
			if _, err := compressor.Write(frames.Bytes()); err != nil {
				return err
			}
			if err := compressor.Close(); err != nil {
				return err
			}
			message.WriteString("1C")
			integer(&message, compressed.Len())
			frames = compressed
		}
		message.Write(frames.Bytes())
		if err := connection.SetDeadline(time.Now().Add(o.timeout)); err != nil {
			return err
		}
		if _, err := connection.Write(message.Bytes()); err != nil {
			return err
		}
		var answer [6]byte
		if _, err := io.ReadFull(connection, answer[:]); err != nil {
			return fmt.Errorf("window %d: %w", window, err)
		}
		if string(answer[:2]) != "1A" || binary.BigEndian.Uint32(answer[2:]) != sequence {
			return fmt.Errorf("window %d: acknowledged by %q, not by event %d", window, answer, sequence)
		}
		if err := output.Encode(acknowledgement{window, uint32(o.events)}); err != nil {
			return err
		}
	}
	return connection.Close()
}

func integer(out *bytes.Buffer, number int) {
	var bytes [4]byte
	binary.BigEndian.PutUint32(bytes[:], uint32(number))
	out.Write(bytes[:])
}
