// Loads a model once and finds out what a run wants to know of it. scripts/build-llama.sh builds it with llama.cpp.
//
//   llama-examine -m MODEL -c CONTEXT -bf QUESTIONS --no-escape [options of llama.cpp]
//
// QUESTIONS is a JSON object; what is left out is not asked:
//
//   {"tokenize": TEXT,                                the ids of a text; special tokens are parsed
//    "ends": [ID, …],                                 does generation end at these tokens?
//    "numbers": TEXT,                                 are the logits at every token of a text finite?
//    "answers": [{"prompt": TEXT, "tokens": N}, …],   greedy continuations; special tokens are parsed
//    "speed": {"threads": [N, …], "prompt": N, "generated": N, "repetitions": N}}
//
// The answer to each question is a line of JSON on stdout: {"tokenize": [ID, …]}, {"ends": [BOOL, …]}, {"numbers": BOOL},
// {"answer": TEXT} for each prompt, {"threads": N, "gpu": NAME, "cpu": NAME, "prompt_ms": [MS, …], "generated_ms":
// [MS, …]} for each number of threads: milliseconds per token, once for each repetition.

#include "arg.h"
#include "common.h"
#include "ggml-backend.h"
#include "llama.h"
#include "log.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <clocale>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

using json = nlohmann::ordered_json;

static void usage(int, char ** argv) {
    LOG("\n%s -m MODEL -c CONTEXT -bf QUESTIONS --no-escape\n", argv[0]);
}

static void say(const json & answer) {
    std::printf("%s\n", answer.dump(-1, ' ', false, json::error_handler_t::replace).c_str());
    std::fflush(stdout);
}

// Continues with these tokens. `each`: logits for every one, else for the last.
static void decode(llama_context * ctx, const llama_tokens & tokens, bool each = false) {
    const llama_pos start = llama_memory_seq_pos_max(llama_get_memory(ctx), 0) + 1;
    common_batch batch(ctx);
    for (size_t i = 0; i < tokens.size(); ++i) {
        batch.add(tokens[i], start + (llama_pos) i, 0, each || i + 1 == tokens.size());
    }
    const int status = llama_process(ctx, LLAMA_PROCESS_TYPE_DECODE, batch.get());
    if (status != 0) {
        LOG_ERR("error: llama_process failed with %d\n", status);
        std::exit(1);
    }
}

// The same in steps of a batch.
static void read_prompt(llama_context * ctx, const llama_tokens & tokens) {
    const size_t most = llama_n_batch(ctx);
    for (size_t i = 0; i < tokens.size(); i += most) {
        decode(ctx, {tokens.begin() + i, tokens.begin() + std::min(i + most, tokens.size())});
    }
}

static void forget(llama_context * ctx) {
    llama_memory_clear(llama_get_memory(ctx), true);
}

static bool is_finite(llama_context * ctx, const llama_vocab * vocab, int row) {
    const float * logits = llama_get_logits_ith(ctx, row);
    return std::all_of(logits, logits + llama_vocab_n_tokens(vocab), [](float one) { return std::isfinite(one); });
}

static bool has_finite_logits(llama_context * ctx, const llama_vocab * vocab, const std::string & text) {
    const llama_tokens tokens = common_tokenize(vocab, text, true, true);
    const size_t step = 32; // logits of a whole window would be hundreds of megabytes
    forget(ctx);
    for (size_t i = 0; i < tokens.size(); i += step) {
        const llama_tokens part(tokens.begin() + i, tokens.begin() + std::min(i + step, tokens.size()));
        decode(ctx, part, true);
        for (size_t row = 0; row < part.size(); ++row) {
            if (!is_finite(ctx, vocab, (int) row)) {
                return false;
            }
        }
    }
    return true;
}

static std::string answer(llama_context * ctx, const llama_vocab * vocab, const std::string & prompt, int most) {
    llama_tokens tokens = common_tokenize(vocab, prompt, true, true);
    if (tokens.empty()) {
        tokens.push_back(llama_vocab_bos(vocab) == LLAMA_TOKEN_NULL ? 0 : llama_vocab_bos(vocab));
    }
    if (tokens.size() + most > llama_n_ctx(ctx)) {
        LOG_ERR("error: a prompt of %zu tokens is too long for the context\n", tokens.size());
        std::exit(1);
    }
    std::string text;
    forget(ctx);
    read_prompt(ctx, tokens);
    for (int i = 0; i < most; ++i) {
        const float * logits = llama_get_logits_ith(ctx, -1);
        const llama_token next = std::max_element(logits, logits + llama_vocab_n_tokens(vocab)) - logits;
        if (llama_vocab_is_eog(vocab, next)) {
            break;
        }
        text += common_token_to_piece(vocab, next, false);
        decode(ctx, {next});
    }
    return text;
}

static std::string device_of(enum ggml_backend_dev_type type) {
    std::string names;
    for (size_t i = 0; i < ggml_backend_dev_count(); ++i) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        if (ggml_backend_dev_type(device) == type) {
            names += (names.empty() ? "" : ", ") + std::string(ggml_backend_dev_description(device));
        }
    }
    return names;
}

template <typename Work> static double ms(llama_context * ctx, Work work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    llama_synchronize(ctx);
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

// With tokens at random, as llama-bench: of text some would be predicted by a mixture's same experts again and again.
static json speed(llama_context * ctx, const llama_vocab * vocab, const json & asked, int threads) {
    const auto any = [&] { return (llama_token) (std::rand() % llama_vocab_n_tokens(vocab)); };
    const int prompt = asked.at("prompt"), generated = asked.at("generated");
    std::vector<double> prompt_ms, generated_ms;
    llama_set_n_threads(ctx, threads, threads);
    for (int repetition = -1; repetition < (int) asked.at("repetitions"); ++repetition) { // the first warms up
        llama_tokens tokens(prompt);
        std::generate(tokens.begin(), tokens.end(), any);
        forget(ctx);
        const double reading = ms(ctx, [&] { read_prompt(ctx, tokens); });
        forget(ctx);
        const int count = repetition < 0 ? 1 : generated;
        const double writing = ms(ctx, [&] {
            for (int i = 0; i < count; ++i) {
                decode(ctx, {any()});
                llama_synchronize(ctx);
            }
        });
        if (repetition >= 0) {
            prompt_ms.push_back(reading / prompt);
            generated_ms.push_back(writing / generated);
        }
    }
    return {{"threads", threads},
            {"gpu", device_of(GGML_BACKEND_DEVICE_TYPE_GPU)},
            {"cpu", device_of(GGML_BACKEND_DEVICE_TYPE_CPU)},
            {"prompt_ms", prompt_ms},
            {"generated_ms", generated_ms}};
}

int main(int argc, char ** argv) {
    std::setlocale(LC_NUMERIC, "C");
    common_init();
    common_params params;
    if (!common_params_parse(argc, argv, params, LLAMA_EXAMPLE_COMPLETION, usage)) {
        return 1;
    }
    const json questions = json::parse(params.prompt);
    params.warmup = false;
    llama_backend_init();
    llama_numa_init(params.numa);
    const auto loaded = common_init_from_params(params);
    llama_context * ctx = loaded->context();
    if (ctx == nullptr) {
        LOG_ERR("error: failed to load the model\n");
        return 1;
    }
    const llama_vocab * vocab = llama_model_get_vocab(loaded->model());
    if (questions.contains("tokenize")) {
        const std::string text = questions["tokenize"];
        say({{"tokenize", common_tokenize(vocab, text, llama_vocab_get_add_bos(vocab), true)}});
    }
    if (questions.contains("ends")) {
        json ends = json::array();
        for (const llama_token token : questions["ends"]) {
            ends.push_back(llama_vocab_is_eog(vocab, token));
        }
        say({{"ends", ends}});
    }
    if (questions.contains("numbers")) {
        say({{"numbers", has_finite_logits(ctx, vocab, questions["numbers"])}});
    }
    for (const json & asked : questions.value("answers", json::array())) {
        say({{"answer", answer(ctx, vocab, asked.at("prompt"), asked.at("tokens"))}});
    }
    if (questions.contains("speed")) {
        // Sums in float32 are for what is compared; users have llama.cpp's own.
        if (questions["speed"].value("own_sums", false)) {
            unsetenv("GGML_CUDA_CUBLAS_COMPUTE_TYPE");
        }
        for (const int threads : questions["speed"].at("threads")) {
            say(speed(ctx, vocab, questions["speed"], threads));
        }
    }
    llama_backend_free();
    return 0;
}
