package bpf

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -go-package bpf -type process -type edge_key -type running -type open_socket -type counter ambit ambit.bpf.c -- -mcpu=v2 -Wall -Werror -Wno-logical-op-parentheses -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -go-package bpf deny deny.bpf.c -- -mcpu=v2 -Wall -Werror -Wno-logical-op-parentheses -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -go-package bpf -type record -type kind -type loss -type range tls tls.bpf.c -- -mcpu=v2 -Wall -Werror -Wno-logical-op-parentheses -I/usr/include/x86_64-linux-gnu
