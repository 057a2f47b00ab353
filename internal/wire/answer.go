package wire

import "context"

// answer is a client's input_reply.
type answer struct {
	id       string // its msg_id
	question int64  // number of the question that was open when the client sent it
}

// reply passes on an answer to input(). It starts confirm, which records later that the question is answered.
func (k *kernel) reply(ctx context.Context, f Frame, id string) error {
	_, queue, err := k.hub.s.Kernel(k.id)
	if err != nil {
		return err
	}
	a := answer{id, queue.Question()}
	k.mu.Lock()
	if k.refused == id {
		k.refused = "" // an earlier answer with the same id
	}
	k.mu.Unlock()
	if err := k.forward(ctx, f); err != nil || a.question == 0 {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answer = a
	if !k.confirming {
		k.confirming = k.hub.goRun(func(ctx context.Context) { k.confirm(ctx, queue) })
	}
	return nil
}

// confirm records that the question is answered, unless the agent refuses the answer. The agent's note about a refusal
// arrives before the answer to a later probe. So confirm waits for a probe.
func (k *kernel) confirm(ctx context.Context, queue Queue) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		a := k.answer
		k.mu.Unlock()
		k.probe(ctx)
		k.mu.Lock()
		if k.answer != a {
			continue // a newer answer
		}
		k.confirming = false
		if k.refused != a.id {
			k.mu.Unlock()
			queue.Answered(ctx, a.question)
			k.mu.Lock()
		}
		return
	}
}
