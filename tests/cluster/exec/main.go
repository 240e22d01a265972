// Runs commands as a kubelet's exec does, with the streaming server of the kubelet and of containerd, but on this
// machine instead of in a container. Prints its port; ends when its stdin ends.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/remotecommand"
	streaming "k8s.io/kubelet/pkg/cri/streaming"
	server "k8s.io/kubelet/pkg/cri/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

type here struct{}

func (here) ExecInContainer(ctx context.Context, _ string, _ types.UID, _ string, command []string, in io.Reader,
	out, err io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	process := exec.CommandContext(ctx, command[0], command[1:]...)
	process.Stdout, process.Stderr = out, err
	process.WaitDelay = time.Second
	stdin, failed := process.StdinPipe()
	if failed != nil {
		return failed
	}
	if failed := process.Start(); failed != nil {
		return failed
	}
	go func() { io.Copy(stdin, in); stdin.Close() }()
	if ended, ok := process.Wait().(*exec.ExitError); ok {
		return utilexec.CodeExitError{Err: ended, Code: ended.ExitCode()}
	}
	return nil
}

// /exec/<namespace>/<pod>/<container>?command=…&input=1&output=1
func serve(response http.ResponseWriter, request *http.Request) {
	options, err := server.NewOptions(request)
	if err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	parts, defaults := strings.Split(request.URL.Path, "/"), streaming.DefaultConfig
	server.ServeExec(response, request, here{}, parts[3], "", parts[4], request.URL.Query()["command"], options,
		defaults.StreamIdleTimeout, defaults.StreamCreationTimeout, defaults.SupportedRemoteCommandProtocols)
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	go http.Serve(listener, http.HandlerFunc(serve))
	io.Copy(io.Discard, os.Stdin)
}
