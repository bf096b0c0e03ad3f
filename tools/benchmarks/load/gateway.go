package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"io/ioutil"
	"math/rand"
	"net"
	"strconv"
	"strings"
	"time"
)

// security is the TLS setting that trusts the certificate in a file; nil without one.
func security(file string) (*tls.Config, error) {
	if file == "" {
		return nil, nil
	}
	text, err := ioutil.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}, nil
}

// plainHTTP is a connection that sends one request after the other. By hand, as net/http would need more CPU time than
// the servers it is to measure.
type plainHTTP struct {
	host       string
	connection net.Conn
	reader     *bufio.Reader
}

func dialHTTP(ctx context.Context, o *options) (*plainHTTP, error) {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	connection, err := dialer.DialContext(ctx, "tcp", o.endpoint)
	if err != nil {
		return nil, err
	}
	if o.tls != nil {
		connection = tls.Client(connection, o.tls)
	}
	return &plainHTTP{host: o.endpoint, connection: connection, reader: bufio.NewReader(connection)}, nil
}

// post sends a body and waits for the answer, which must be 200 and say its length.
func (h *plainHTTP) post(path, body string) error {
	if err := h.connection.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	head := "POST " + path + " HTTP/1.1\r\nHost: " + h.host + "\r\nContent-Type: application/json\r\nContent-Length: " +
		strconv.Itoa(len(body)) + "\r\n\r\n"
	if _, err := io.WriteString(h.connection, head+body); err != nil {
		return err
	}
	status, err := h.reader.ReadString('\n')
	if err != nil {
		return err
	}
	length := int64(-1)
	for {
		line, err := h.reader.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			break
		}
		if colon := strings.IndexByte(line, ':'); colon > 0 && strings.EqualFold(line[:colon], "content-length") {
			if length, err = strconv.ParseInt(strings.TrimSpace(line[colon+1:]), 10, 64); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("an answer without its length: %s", status)
	}
	if _, err := io.CopyN(ioutil.Discard, h.reader, length); err != nil {
		return err
	}
	if !strings.Contains(status, " 200 ") {
		return fmt.Errorf("%s", strings.TrimSpace(status))
	}
	return nil
}

// openPutJSON is openPut over the gateway: a connection for each loop, as HTTP/1.1 has one request on its way at a time.
func openPutJSON(ctx context.Context, o *options, loop int, random *rand.Rand, r *run) (operation, func(), error) {
	h, err := dialHTTP(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	value := base64.StdEncoding.EncodeToString([]byte(randomValue(random, o.valueSize)))
	put := timed(func(ctx context.Context) error {
		key := base64.StdEncoding.EncodeToString([]byte(keyName(random.Intn(o.keys))))
		return h.post("/v3/kv/put", `{"key":"`+key+`","value":"`+value+`"}`)
	})
	return put, func() { h.connection.Close() }, nil
}
