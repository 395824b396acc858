// Files as users have them: checkpoints of other programs, folders in another order, images of
// other formats, configs with mistakes. Each test runs the built program.
#include <fstream>

#include "cli/fixture.h"

namespace bitlog2 {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::AnyOf;
using testing::Arguments;
using testing::Cli;
using testing::complaints;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::lines_of;
using testing::nano_path;
using ::testing::Not;
using testing::operator+;
using testing::Outcome;
using testing::OwnedTensor;
using testing::read_text;
using testing::run_program;
using testing::write_text;

class Files : public Cli {
 protected:
  static fs::path picture(const std::string& name) { return testing::fixtures() / "images" / name; }

  /// The nano ViT's tensors under other metadata, and perhaps other names.
  fs::path checkpoint(const std::map<std::string, std::string>& metadata,
                      const std::string& prefix = "",
                      const std::vector<OwnedTensor>& more = {}) const {
    const Safetensors nano = Safetensors::open(nano_path("vit"));
    std::vector<OwnedTensor> tensors = testing::tensors_of(nano);
    for (OwnedTensor& tensor : tensors) {
      tensor.name = prefix + tensor.name;
    }
    tensors.insert(tensors.end(), more.begin(), more.end());
    std::map<std::string, std::string> all = {{"config", nano.metadata().at("config")}};
    for (const auto& [key, value] : metadata) {
      all[key] = value;
    }
    testing::write_tensors(path("checkpoint.safetensors"), tensors, all);
    return path("checkpoint.safetensors");
  }

  /// One image for each class folder.
  fs::path folders(const std::vector<std::string>& names) const {
    for (const std::string& name : names) {
      fs::create_directories(path("folders/val") / name);
      fs::copy(picture("rgb_8.png"), path("folders/val") / name / "a.png",
               fs::copy_options::overwrite_existing);
    }
    return path("folders");
  }

  Outcome eval_fp32(const fs::path& weights, const fs::path& data,
                    const Arguments& more = {}) const {
    return run(Arguments{"eval", "--engine", "fp32", "--weights", weights.string(), "--dataset",
                         data.string()} +
               more);
  }
};

std::vector<std::string> ten_names() {
  return {"ant", "Bee", "cow", "dog", "eel", "fly", "gnu", "hen", "ibis", "jay"};
}

// ---- The order of classes ---------------------------------------------------------------

TEST_F(Files, FoldersAreMatchedToTheCheckpointsClassNames) {
  const fs::path data = folders(ten_names());
  // The loss depends on the order of the classes, so it is the same only for the same order.
  const auto right = [&](const std::string& names) {
    const fs::path weights = checkpoint({{"class_names", names}});
    const Outcome outcome = eval_fp32(weights, data, {"--json"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_THAT(complaints(outcome), ElementsAre());
    return json::parse(outcome.out)[0]["loss"].get<double>();
  };
  const double in_order =
      right(R"(["ant","Bee","cow","dog","eel","fly","gnu","hen","ibis","jay"])");
  const double spelled = right(R"(["ANT","bee","Cow","dog","eel","fly","gnu","hen","ibis","jay"])");
  EXPECT_EQ(in_order, spelled);
  EXPECT_EQ(json::parse(eval_fp32(checkpoint({{"id2label",
                                               R"({"0":"ant","1":"bee","2":"cow","3":"dog",
                                                   "4":"eel","5":"fly","6":"gnu","7":"hen",
                                                   "8":"ibis","9":"jay"})"}}),
                                  data, {"--json"})
                            .out)[0]["loss"],
            in_order);
}

TEST_F(Files, AnotherConventionsOrderIsTold) {
  const Outcome outcome = eval_fp32(nano_path("vit"), folders(ten_names()));
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(complaints(outcome),
              ElementsAre(AllOf(HasSubstr("timm sorts naturally"), HasSubstr("--class-map"))));
}

TEST_F(Files, AClassMapSaysTheOrderOutright) {
  const fs::path data = folders(ten_names());
  std::string map;
  for (const std::string& name : ten_names()) {
    map += name + "\n";
  }
  write_text(path("map.txt"), map);
  const Outcome outcome =
      eval_fp32(nano_path("vit"), data, {"--class-map", path("map.txt").string()});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(complaints(outcome), ElementsAre());
  EXPECT_EQ(run(Arguments{"eval", "--weights", nano_path("vit").string(), "--dataset",
                          data.string(), "--class-map", ""})
                .exit_code,
            2);
}

TEST_F(Files, ClassNamesThatDoNotFitAreNoReasonToStop) {
  for (const char* names : {"a,b,c", R"(["a","b"])", "5"}) {
    const fs::path weights = checkpoint({{"class_names", names}});
    const Outcome outcome =
        run({"predict", "--weights", weights.string(), picture("rgb_8.png").string()});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_THAT(complaints(outcome), ElementsAre(HasSubstr("the classes have no names")));
    EXPECT_THAT(outcome.out, HasSubstr("class "));
  }
}

// ---- Datasets ---------------------------------------------------------------------------

TEST_F(Files, SplitsStrangersAndListsAreToldApart) {
  for (const char* split : {"val", "validation", "valid", "test"}) {
    const fs::path root = path(std::string("split_") + split);
    for (const std::string& name : ten_names()) {
      fs::create_directories(root / split / name);
      fs::copy(picture("rgb_8.png"), root / split / name / "a.png");
    }
    fs::create_directories(root / split / "__MACOSX");
    fs::copy(picture("rgb_8.png"), root / split / "stray.png");
    const Outcome outcome = eval_fp32(nano_path("vit"), root, {"--json"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(json::parse(outcome.out)[0]["images"], 10);
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("__MACOSX"), HasSubstr("stray.png")));
  }
  write_text(path("flat/val.txt"), "\xEF\xBB\xBFval/a.png 3\r\n");
  fs::create_directories(path("flat/val"));
  fs::copy(picture("rgb_8.png"), path("flat/val/a.png"));
  fs::copy(picture("rgb_8.png"), path("flat/val/b.png"));
  const Outcome outcome = eval_fp32(nano_path("vit"), path("flat"), {"--json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(json::parse(outcome.out)[0]["images"], 1);
  EXPECT_THAT(complaints(outcome), ElementsAre(HasSubstr("names 1 images")));
}

TEST_F(Files, AListBesideClassFoldersIsTold) {
  const fs::path data = folders(ten_names());
  write_text(data / "val.txt", "ant/a.png 1\n");
  const Outcome outcome = eval_fp32(nano_path("vit"), data);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(complaints(outcome),
              ElementsAre(AllOf(HasSubstr("labels come from"), HasSubstr("val.txt"))));
}

TEST_F(Files, ImagesOfEveryFormatCountWhateverTheirNames) {
  const fs::path data = folders(ten_names());
  const fs::path one = data / "val/ant";
  const fs::path formats = picture("formats");
  std::size_t images = 10;
  for (const char* extension : {".webp", ".bmp", ".gif", ".tif"}) {
    for (const fs::directory_entry& entry : fs::directory_iterator(formats)) {
      if (entry.path().extension() == extension) {
        fs::copy(entry.path(), one / ("x" + std::string(extension)));
        fs::copy(entry.path(), one / ("named" + std::string(extension) + ".jpe"));
        fs::copy(entry.path(), one / ("without_extension_" + std::string(extension).substr(1)));
        images += 3;
        break;
      }
    }
  }
  ASSERT_EQ(images, 22U);
  write_text(one / "notes.md", "no image");
  write_text(one / "more.md", "no image");
  const Outcome outcome = eval_fp32(nano_path("vit"), data, {"--json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(json::parse(outcome.out)[0]["images"], images) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("no images were passed over: 2 .md"));
}

TEST_F(Files, AnEmptyFolderDoesNotLoseTheOtherImages) {
  fs::create_directories(path("empty"));
  const std::string image = picture("rgb_8.png").string();
  const Outcome outcome = run(
      {"predict", "--weights", nano_path("vit").string(), image, path("empty").string(), image});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(lines_of(outcome.out).size(), 12U);
  EXPECT_THAT(complaints(outcome), ElementsAre(HasSubstr("no images")));
}

// ---- Checkpoints ------------------------------------------------------------------------

TEST_F(Files, OtherPrefixesAndCountersLoadWithANote) {
  const OwnedTensor counter =
      testing::make_tensor("module.n_averaged", DType::i64, {1}, std::vector<std::int64_t>{7});
  const Outcome outcome = eval_fp32(checkpoint({}, "module.", {counter}), dataset());
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("'module.'"), HasSubstr("n_averaged")));
}

TEST_F(Files, CheckpointsOfTorchEvaluateAsTheirTensorsInSafetensors) {
  const json config = json::parse(Safetensors::open(nano_path("vit")).metadata().at("config"));
  write_text(path("config.json"), config.dump());
  const Arguments described = {"--config", path("config.json").string()};
  const fs::path saved = testing::fixtures() / "torch" / "vit_nano.pth";
  const Outcome outcome = eval_fp32(saved, dataset(), described + Arguments{"--json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("vit_nano.pth: its weights are taken from 'model'"),
                                 HasSubstr("'module.'")));
  const Outcome expected = eval_fp32(nano_path("vit"), dataset(), {"--json"});
  const auto measured = [](const Outcome& run) {
    const json results = json::parse(run.out);
    return std::pair(results[0]["top1"], results[0]["loss"]);
  };
  EXPECT_EQ(measured(outcome), measured(expected));
}

TEST_F(Files, CommandsInPicklesDoNothing) {
  const Outcome outcome =
      eval_fp32(testing::fixtures() / "torch" / "command.pth", dataset(), {"--model", "vit_small"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(complaint(outcome), HasSubstr("command.pth: refused: posix.system"));
  EXPECT_FALSE(fs::exists("the_pickle_was_run"));
}

TEST_F(Files, InspectSaysWhatWasRefusedInPickles) {
  const Outcome outcome =
      run({"inspect", (testing::fixtures() / "torch" / "command_inside.pth").string()});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("refused: posix.system"));
}

TEST_F(Files, OtherFilesAreNamed) {
  const auto refused = [&](const std::string& content) {
    write_text(path("other.bin"), content);
    const Outcome outcome = eval_fp32(path("other.bin"), dataset());
    EXPECT_EQ(outcome.exit_code, 1);
    return complaint(outcome);
  };
  EXPECT_THAT(refused("version https://git-lfs.github.com/spec/v1\n"), HasSubstr("git lfs pull"));
  EXPECT_THAT(refused("<!DOCTYPE html><html>"), HasSubstr("web page"));
  EXPECT_THAT(refused("\x80\x02}q"), HasSubstr("ickle"));
  EXPECT_THAT(refused("GGUF\3"), HasSubstr("GGUF"));
  EXPECT_THAT(refused(R"({"weight_map": {"a": "model-00001-of-00002.safetensors"}})"),
              HasSubstr("model-00001-of-00002.safetensors is missing"));
}

TEST_F(Files, AModelIsDescribedOnce) {
  const json config = json::parse(Safetensors::open(nano_path("vit")).metadata().at("config"));
  write_text(path("config.json"), config.dump());
  const Outcome outcome =
      eval_fp32(nano_path("vit"), dataset(),
                {"--model", "deit_tiny", "--config", path("config.json").string()});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(complaint(outcome), AllOf(HasSubstr("--model"), HasSubstr("--config")));
}

// ---- Configs ----------------------------------------------------------------------------

TEST_F(Files, MistakesInConfigsAreNamed) {
  json config = json::parse(Safetensors::open(nano_path("vit")).metadata().at("config"));
  const auto refused = [&](const std::string& text) {
    write_text(path("config.json"), text);
    const Outcome outcome =
        eval_fp32(nano_path("vit"), dataset(), {"--config", path("config.json").string()});
    EXPECT_EQ(outcome.exit_code, 1);
    return complaint(outcome);
  };
  const auto with = [&](const char* key, const json& value) {
    json changed = config;
    changed[key] = value;
    return changed.dump();
  };
  EXPECT_THAT(refused(with("crop_pc", 0.9)), HasSubstr("did you mean 'crop_pct'?"));
  EXPECT_THAT(refused(with("means", {0.5, 0.5, 0.5})), HasSubstr("did you mean 'mean'?"));
  EXPECT_THAT(refused(with("mean", {123.675, 116.28, 103.53})),
              AnyOf(HasSubstr("0 to 255"), HasSubstr("of 0 to 1")));
  EXPECT_THAT(refused("{\n  \"family\": \"vit\",,\n}"),
              AllOf(HasSubstr("line 2"), HasSubstr("column")));
  EXPECT_THAT(refused(R"({"family": "vit"})"),
              AllOf(HasSubstr("img_size"), HasSubstr("embed_dim"), HasSubstr("num_heads")));
}

// ---- Names with control characters ------------------------------------------------------

TEST_F(Files, ControlCharactersOfAFileStayOutOfTheOutput) {
  json config = json::parse(Safetensors::open(nano_path("vit")).metadata().at("config"));
  config["name"] = "ev\x1bil\n";
  const fs::path weights = checkpoint({{"config", config.dump()}});
  for (const Arguments& arguments :
       {Arguments{"quantize", "-o", path("q.safetensors").string()}, Arguments{"ablate"}}) {
    const Outcome outcome =
        run(arguments + Arguments{"--weights", weights.string(), "--dataset", dataset().string(),
                                  "--calib-batchsize", "6"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_THAT(outcome.out, AllOf(HasSubstr("ev\\x1bil\\n"), Not(HasSubstr("\x1b"))));
  }
}

// ---- docs/troubleshooting.md ------------------------------------------------------------

TEST(Troubleshooting, QuotesMessagesThatTheProgramHas) {
  // Each message in the first column of a table must be in the program, except for the parts that
  // it fills in.
  const std::string program = read_text(testing::programs() / "bitlog2");
  std::ifstream document(fs::path(BITLOG2_SOURCE_DIR) / "docs" / "troubleshooting.md");
  std::size_t quoted = 0;
  for (std::string line; std::getline(document, line);) {
    if (!line.starts_with("| `")) {
      continue;
    }
    std::string message = line.substr(3, line.find('`', 3) - 3);
    // Numbers and names are filled in; the longest piece between them must be in the program.
    std::string longest;
    std::string piece;
    for (const std::string& word : [&] {
           std::vector<std::string> words;
           std::istringstream stream(message);
           for (std::string each; stream >> each;) {
             words.push_back(each);
           }
           return words;
         }()) {
      const bool filled_in = word.find_first_of("0123456789'") != std::string::npos;
      piece = filled_in ? "" : piece + (piece.empty() ? "" : " ") + word;
      if (piece.size() > longest.size()) {
        longest = piece;
      }
    }
    EXPECT_NE(program.find(longest), std::string::npos) << message << ": " << longest;
    ++quoted;
  }
  EXPECT_GT(quoted, 20U);
}

}  // namespace
}  // namespace bitlog2
