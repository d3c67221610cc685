// gorilla/websocket, for foreign.py. It fragments what does not fit into its buffer.
package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

var client *websocket.Conn

func unhex(word string) []byte {
	data, err := hex.DecodeString(word)
	if err != nil {
		panic(err)
	}
	return data
}

func or(word, otherwise string) string {
	if word == "" {
		return otherwise
	}
	return word
}

func open(url string, subprotocols []string) {
	dialer := websocket.Dialer{EnableCompression: true, Subprotocols: subprotocols, WriteBufferSize: 1024}
	conn, response, err := dialer.Dial(url, nil)
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	client = conn
	extensions := or(response.Header.Get("Sec-WebSocket-Extensions"), "-")
	fmt.Println("open", or(conn.Subprotocol(), "-"), strings.ReplaceAll(extensions, " ", ""))
	conn.SetPongHandler(func(data string) error {
		fmt.Printf("pong %x\n", data)
		return nil
	})
	go receive(conn)
}

func receive(conn *websocket.Conn) {
	for {
		kind, data, err := conn.ReadMessage()
		if end, ok := err.(*websocket.CloseError); ok {
			fmt.Printf("closed %d %x\n", end.Code, end.Text)
			return
		} else if err != nil {
			fmt.Println("failed", err)
			return
		}
		fmt.Printf("%s %x\n", map[int]string{1: "text", 2: "binary"}[kind], data)
	}
}

func does(words []string) error {
	switch words[0] {
	case "text":
		return client.WriteMessage(websocket.TextMessage, unhex(words[1]))
	case "binary":
		return client.WriteMessage(websocket.BinaryMessage, unhex(words[1]))
	case "ping":
		return client.WriteControl(websocket.PingMessage, unhex(words[1]), time.Now().Add(time.Minute))
	}
	code, _ := strconv.Atoi(words[1])
	end := websocket.FormatCloseMessage(code, string(unhex(words[2])))
	return client.WriteControl(websocket.CloseMessage, end, time.Now().Add(time.Minute))
}

func main() {
	fmt.Println("client gorilla", "-", "deflate ping")
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		words := strings.Split(lines.Text(), " ")
		if words[0] == "open" {
			open(words[1], strings.FieldsFunc(strings.Join(words[2:], ","), func(r rune) bool { return r == ',' }))
		} else if err := does(words); err != nil {
			fmt.Println("failed", err)
		}
	}
}
