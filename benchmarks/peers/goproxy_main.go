// A proxy of the library goproxy that decides on every request, by a local rule or by an authorization service.
//
// The signer of the library makes an RSA key for every connection, and its responses inside TLS close the connection.
// This program replaces the signer through its interface: it signs certificates with an elliptic-curve key, once for
// each host.  The responses keep the connection open only if net/http serves the inside of a tunnel instead of the loop
// of the library, and then passes each request to the library.  The option -keep-alive does that.
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/elazarl/goproxy"
)

const (
	idle    = 4096
	timeout = 5 * time.Second
	day     = 24 * time.Hour
)

func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		MaxIdleConns:        idle,
		MaxIdleConnsPerHost: idle,
		IdleConnTimeout:     10 * time.Minute,
		DisableCompression:  true,
	}
}

// authority signs certificates, and caches them.
type authority struct {
	certificate *x509.Certificate
	signer      interface{}
	key         *ecdsa.PrivateKey
	mutex       sync.Mutex
	configs     map[string]*hostConfig
}

type hostConfig struct {
	once   sync.Once
	config *tls.Config
	err    error
}

func newAuthority(certificateFile, keyFile string) (*authority, error) {
	pair, err := tls.LoadX509KeyPair(certificateFile, keyFile)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return &authority{
		certificate: certificate, signer: pair.PrivateKey, key: key, configs: map[string]*hostConfig{},
	}, nil
}

func (a *authority) configFor(address string, _ *goproxy.ProxyCtx) (*tls.Config, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	a.mutex.Lock()
	found, ok := a.configs[host]
	if !ok {
		found = &hostConfig{}
		a.configs[host] = found
	}
	a.mutex.Unlock()
	found.once.Do(func() { found.config, found.err = a.sign(host) })
	return found.config, found.err
}

func (a *authority) sign(host string) (*tls.Config, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: host},
		NotBefore:             now.Add(-day),
		NotAfter:              now.Add(7 * day),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if address := net.ParseIP(host); address != nil {
		template.IPAddresses = []net.IP{address}
	} else {
		template.DNSNames = []string{host}
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &a.key.PublicKey, a.signer)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{signed}, PrivateKey: a.key}},
	}, nil
}

// decider decides whether a request is allowed.
type decider func(method, url string, header http.Header) (bool, error)

func byRule(_, url string, _ http.Header) (bool, error) {
	path := url
	if at := strings.Index(path, "://"); at >= 0 {
		path = path[at+3:]
	}
	return !strings.Contains(strings.SplitN(path, "?", 2)[0], "/denied/"), nil
}

type question struct {
	URL     string `json:"url"`
	Method  string `json:"method"`
	Headers string `json:"headers"`
}

type answer struct {
	Allowed *bool `json:"allowed"`
}

func byAuthorizer(url string) decider {
	client := &http.Client{Transport: newTransport(), Timeout: timeout}
	url += "/validate"
	return func(method, asked string, header http.Header) (bool, error) {
		fields := make(map[string]string, len(header))
		for name, values := range header {
			fields[strings.ToLower(name)] = strings.Join(values, ", ")
		}
		inner, err := json.Marshal(fields)
		if err != nil {
			return false, err
		}
		body, err := json.Marshal(question{asked, method, string(inner)})
		if err != nil {
			return false, err
		}
		response, err := client.Post(url, "application/json", bytes.NewReader(body))
		if err != nil {
			return false, err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
		if err != nil {
			return false, err
		}
		var said answer
		if err := json.Unmarshal(text, &said); err != nil {
			return false, err
		}
		if said.Allowed == nil || *said.Allowed && response.StatusCode != http.StatusOK {
			return false, errors.New("the answer is neither yes nor no")
		}
		return *said.Allowed, nil
	}
}

// inside is a listener that accepts the connections inside intercepted tunnels.
type inside chan net.Conn

func (i inside) Accept() (net.Conn, error) { return <-i, nil }
func (i inside) Close() error              { return nil }
func (i inside) Addr() net.Addr            { return &net.TCPAddr{} }

// tunnelled stores the target of the CONNECT.
type tunnelled struct {
	net.Conn
	address string
}

type addressKey struct{}

func (a *authority) keepAlive(proxy *goproxy.ProxyHttpServer) *goproxy.ConnectAction {
	accepted := make(inside)
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.URL.Scheme = "https"
			r.URL.Host, _ = r.Context().Value(addressKey{}).(string)
			proxy.ServeHTTP(w, r)
		}),
		ConnContext: func(c context.Context, connection net.Conn) context.Context {
			return context.WithValue(c, addressKey{}, connection.(*tls.Conn).NetConn().(tunnelled).address)
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	go func() { log.Fatal(server.Serve(accepted)) }()
	return &goproxy.ConnectAction{
		Action: goproxy.ConnectHijack,
		Hijack: func(r *http.Request, client net.Conn, ctx *goproxy.ProxyCtx) {
			config, err := a.configFor(r.URL.Host, ctx)
			if err != nil {
				client.Close()
				return
			}
			accepted <- tls.Server(tunnelled{client, r.URL.Host}, config)
		},
	}
}

func refusal(request *http.Request, err error) *http.Response {
	if err != nil {
		return goproxy.NewResponse(request, goproxy.ContentTypeText, http.StatusServiceUnavailable, "no decision\n")
	}
	return goproxy.NewResponse(request, goproxy.ContentTypeText, http.StatusForbidden, "denied\n")
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "where clients connect")
	certificate := flag.String("ca", "", "the CA for clients")
	key := flag.String("ca-key", "", "its key")
	originCA := flag.String("origin-ca", "", "the CA of the origins")
	service := flag.String("authz-url", "", "the authorization service; without it a rule decides")
	intercept := flag.Bool("intercept", false, "intercept every CONNECT")
	keepAlive := flag.Bool("keep-alive", false, "keep intercepted connections open after an answer")
	flag.Parse()

	pem, err := os.ReadFile(*originCA)
	if err != nil {
		log.Fatal(err)
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(pem) {
		log.Fatalf("%s holds no certificate", *originCA)
	}
	decide := decider(byRule)
	if *service != "" {
		decide = byAuthorizer(*service)
	}

	proxy := goproxy.NewProxyHttpServer()
	proxy.Tr = newTransport()
	proxy.Tr.TLSClientConfig = &tls.Config{RootCAs: trusted, ClientSessionCache: tls.NewLRUClientSessionCache(idle)}
	proxy.OnRequest().DoFunc(func(r *http.Request, _ *goproxy.ProxyCtx) (*http.Request, *http.Response) {
		allowed, err := decide(r.Method, r.URL.String(), r.Header)
		if err != nil || !allowed {
			return r, refusal(r, err)
		}
		return r, nil
	})
	if *intercept {
		ca, err := newAuthority(*certificate, *key)
		if err != nil {
			log.Fatal(err)
		}
		action := &goproxy.ConnectAction{Action: goproxy.ConnectMitm, TLSConfig: ca.configFor}
		if *keepAlive {
			action = ca.keepAlive(proxy)
		}
		proxy.OnRequest().HandleConnectFunc(
			func(host string, _ *goproxy.ProxyCtx) (*goproxy.ConnectAction, string) { return action, host })
	} else {
		proxy.OnRequest().HandleConnectFunc(
			func(host string, ctx *goproxy.ProxyCtx) (*goproxy.ConnectAction, string) {
				allowed, err := decide(http.MethodConnect, host, ctx.Req.Header)
				if err != nil || !allowed {
					ctx.Resp = refusal(ctx.Req, err)
					return goproxy.RejectConnect, host
				}
				return goproxy.OkConnect, host
			})
	}
	// Most of its warnings concern clients that have disconnected.
	proxy.Logger = log.New(io.Discard, "", 0)
	log.Fatal(http.ListenAndServe(*listen, proxy))
}
